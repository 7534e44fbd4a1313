import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stage1.host.syscalls import unshare_mounts

ROOT = Path(__file__).parents[4]
PYTHON = [sys.executable, "-c"]


def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    child = (
        "import os, sys; from stage1.host.syscalls import die_with_parent; "
        "assert die_with_parent(os.getppid()); assert not die_with_parent(1); "
        "print(os.getpid(), flush=True); os.execvp('sleep', ['sleep', '1000'])"
    )
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([*PYTHON, parent], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        while _is_alive(pid):
            time.sleep(0.01)
    assert not _is_alive(pid)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_failures_are_os_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may do this")
    with pytest.raises(PermissionError):
        unshare_mounts()
