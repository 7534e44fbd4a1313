"""Each test that mounts does so in a process with a mount namespace of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stage1.hypervisor import select
from stage1.hypervisor.accel import AccelChoice

ROOT = Path(__file__).parents[4]
PYTHON = [sys.executable, "-c"]


def test_what_the_host_executes_is_read_only_in_the_vms_namespace(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mount namespaces need root")
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "init").touch()
    (tmp_path / "etc").mkdir()
    script = (
        "import os, pathlib, sys; from stage1.host.mounts import isolate\n"
        "image = pathlib.Path(sys.argv[1]); isolate(str(image), ['init']); (image / 'etc/file').touch()\n"
        "for act in (lambda: (image / 'usr/bin/python3').touch(), lambda: (image / 'init').write_text('x'),\n"
        "            lambda: (image / 'usr').rename(image / 'other'), lambda: (image / 'init').unlink()):\n"
        "    try:\n"
        "        act()\n"
        "    except OSError:\n"
        "        continue\n"
        "    sys.exit('the guest could change it')\n"
    )
    subprocess.run([*PYTHON, script, str(tmp_path)], cwd=ROOT, check=True)
    assert (tmp_path / "etc/file").exists()
    (tmp_path / "usr/bin/python3").touch()
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()


def test_a_guest_can_bring_no_hypervisor_and_put_no_folder_in_place_of_etc(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mount namespaces need root")
    (tmp_path / "etc/rkt").mkdir(parents=True)
    (tmp_path / "qemu").touch()
    script = (
        "import os, pathlib, sys; from stage1.host.mounts import isolate\n"
        "image = pathlib.Path(sys.argv[1]); isolate(str(image), ())\n"
        "for act in (lambda: (image / 'lkvm').rmdir(), lambda: (image / 'lkvm').rename(image / 'other'),\n"
        "            lambda: (image / 'lkvm/file').touch(), lambda: (image / 'etc').rename(image / 'other')):\n"
        "    try:\n"
        "        act()\n"
        "    except OSError:\n"
        "        continue\n"
        "    sys.exit('the guest could change it')\n"
    )
    subprocess.run([*PYTHON, script, str(tmp_path)], cwd=ROOT, check=True)
    assert select(str(tmp_path), AccelChoice.AUTO, "").name == "qemu"


def test_no_device_can_be_opened_below_the_image(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("device nodes need root")
    volume = tmp_path / "app/volume"
    (tmp_path / "etc").mkdir()
    volume.mkdir(parents=True)
    for folder in (tmp_path, volume):
        os.mknod(folder / "null", 0o20666, os.makedev(1, 3))
    script = (
        "import os, pathlib, sys; from stage1.host.mounts import *; from stage1.host.syscalls import mount\n"
        "image = pathlib.Path(sys.argv[1]); isolate(str(image), ()); volume = str(image / 'app/volume')\n"
        "mount(volume, volume, 0x1000); mount('', volume, 0x1021); forbid_devices(str(image))\n"
        "for path in (image / 'null', image / 'app/volume/null'):\n"
        "    try:\n"
        "        path.open('rb')\n"
        "    except PermissionError:\n"
        "        continue\n"
        "    sys.exit('a device was opened')\n"
        "(image / 'etc/file').touch()\n"
        "try:\n"
        "    (image / 'app/volume/file').touch()\n"
        "except OSError as error:\n"
        "    print(error.strerror)\n"
    )
    done = subprocess.run([*PYTHON, script, str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "Read-only file system\n"
