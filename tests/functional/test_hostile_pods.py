"""Apps that mean harm, in a running virtual machine: nothing on the host but their own pod is read or changed."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.support.console import app_lines
from tests.functional.support.images import CONTAINER, Image
from tests.functional.support.pods import App, PodMaker
from tests.support.canary import SECRET, Canary

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the roots of apps are prepared as root")

EVERYTHING = (
    *("CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_SYS_CHROOT"),
    *("CAP_SYS_MODULE", "CAP_SYS_PTRACE", "CAP_SYS_RAWIO"),
)

TAKE_OVER = (
    "/bin/probe node /disk 240 250 system",
    "try /usr/lib/made try /init try /attach try /gc try /kernel_image try /OTHER/made try /etc/rkt/net.d/made.conf",
    "rename /etc /old rename /usr /old rename /OTHER /old",
    "unmount /rkt remove /rkt/status link /rkt/status CANARY",
    "remove /rkt/env/mallory remove /rkt/env link /rkt/env CANARY say done",
)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    with Canary(tmp_path / "canary") as watched:
        yield watched


def test_links_and_special_files_in_the_roots_of_apps(image: Image, pod_of: PodMaker, canary: Canary) -> None:
    """The links lead into folders that the app has or gets; what is mounted there is mounted for the app alone."""
    see = ("say", "here", "try", "/etc/made", "try", "/tmp/made", "show", "/etc/hosts", "show", "/etc/hostname")
    names = ("folders", "files", "specials")
    apps = [App(name, ("/bin/probe", *see, "cat", "/etc/hostname"), memory="32Mi") for name in names]
    with pod_of(image, apps) as pod:
        # Not the first folder on the way to the canary, which would be a loop.
        for name in {"dev", "etc", "proc", "run", "sys", "tmp"} - {canary.folder.parts[1]}:
            place = pod.app_file("folders", name)
            if place.is_dir():
                shutil.rmtree(place)
            place.symlink_to(canary.folder)
        for name in ("resolv.conf", "hosts", "hostname", "mtab"):
            pod.app_file("files", f"etc/{name}").symlink_to(canary.file)
        pod.app_file("files", "dev").mkdir()
        pod.app_file("files", "dev/null").symlink_to("../" * 20 + str(canary.file))
        pod.app_file("files", "dev/log").symlink_to(canary.below)
        os.mkfifo(pod.app_file("specials", "etc/resolv.conf"))
        os.mknod(pod.app_file("specials", "etc/hosts"), 0o60666, os.makedev(240, 250))
        with socket.socket(socket.AF_UNIX) as listener:
            descriptor = os.open(pod.app_file("specials", "etc"), os.O_PATH)
            listener.bind(f"/proc/self/fd/{descriptor}/mtab")
            os.close(descriptor)
        outcome = pod.run()
        assert SECRET not in outcome.stdout
        # They run, or systemd says that it cannot prepare such a root (EXIT_NAMESPACE of systemd.exec(5)).
        assert outcome.status in (0, 226), outcome
        for name in names if outcome.status == 0 else ():
            assert "here" in app_lines(outcome.lines(), name), outcome
    canary.assert_untouched()


def test_an_app_that_takes_over_the_guest(image: Image, pod_of: PodMaker, canary: Canary) -> None:
    """With every privilege it can change what pods write, and what it leaves there misleads nobody on the host."""
    other = "qemu" if image.hypervisor == "lkvm" else "lkvm"
    app = App(
        "mallory",
        tuple(" ".join(TAKE_OVER).replace("CANARY", str(canary.folder)).replace("OTHER", other).split()),
        isolators={"os/linux/capabilities-retain-set": {"set": list(EVERYTHING)}},
        memory="64Mi",
    )
    (canary.folder / "mallory").write_text("7\n")
    with Canary(canary.folder.parent / "watched") as watched, pod_of(image, [app]) as pod:
        outcome = pod.run("--net=none", "--disable-seccomp", "--disable-paths")
        lines = app_lines(outcome.lines(), "mallory")
        assert "done" in lines, outcome
        kernel = () if image.hypervisor == CONTAINER else ("/kernel_image",)
        for path in ("/usr/lib/made", "/init", "/attach", "/gc", *kernel, f"/{other}/made", "/etc/rkt/net.d/made.conf"):
            assert f"try {path} Read-only file system" in lines, outcome
        for path in ("/etc", "/usr", f"/{other}"):
            assert f"rename {path} Device or resource busy" in lines, outcome
        assert "link /rkt/status ok" in lines, "\n".join(lines)
        # Not every qemu lets a guest make device nodes; where it does they are in the pod's own directory.
        if "node /disk ok" in lines:
            assert stat.S_ISBLK(pod.app_file("mallory", "disk").lstat().st_mode)
        assert outcome.status == 254 and "by a link" in outcome.stderr, outcome
        again = pod.run()
        assert again.status == 254 and "symbolic link" in again.stderr, again
        for _ in range(2):
            assert pod.call("gc").status == 0
        watched.assert_untouched()
    assert (canary.folder / "mallory").read_text() == "7\n"


@pytest.mark.checked_on("container")
def test_sixty_four_apps(image: Image, pod_of: PodMaker) -> None:
    apps = [
        App(f"app-{number}", ("/bin/probe", "say", f"I am {number}"), memory="8Mi", cpu="1") for number in range(64)
    ]
    with pod_of(image, apps) as pod:
        outcome = pod.run()
        assert outcome.status == 0, outcome
        for number in range(64):
            assert app_lines(outcome.lines(), f"app-{number}") == [f"I am {number}"]
            assert pod.status(f"app-{number}") == "0"
