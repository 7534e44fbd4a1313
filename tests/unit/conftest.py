"""Unit tests write many small files. They go into memory, where a file system there has the room."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30
_made = pytest.StashKey[str]()

# However busy the machine is.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def _fits(folder: Path) -> bool:
    """Tests execute programs, and mount, as they do in a directory on a disk."""
    if not os.access(folder, os.W_OK | os.X_OK) or not folder.is_mount():
        return False
    status = os.statvfs(folder)
    forbidden = status.f_flag & (os.ST_NOEXEC | os.ST_RDONLY)
    return not forbidden and status.f_bavail * status.f_frsize >= _ROOM


def _only_unit_tests(config: pytest.Config) -> bool:
    """The others write whole images."""
    here, start = Path(__file__).parent, config.invocation_params.dir
    return all((start / argument.split("::")[0]).resolve().is_relative_to(here) for argument in config.args)


def pytest_configure(config: pytest.Config) -> None:
    """`TMPDIR` or `--basetemp` name another place. Processes of pytest-xdist get the one that is made here."""
    chosen = "TMPDIR" in os.environ or config.getoption("basetemp")
    if not chosen and _only_unit_tests(config) and _fits(_MEMORY):
        folder = tempfile.mkdtemp(prefix="mkstage1-", dir=_MEMORY)
        Path(folder).chmod(0o711)
        os.environ["TMPDIR"] = config.stash[_made] = folder
        tempfile.tempdir = None


def pytest_unconfigure(config: pytest.Config) -> None:
    """Memory is not for keeping."""
    if _made in config.stash:
        _remove(Path(config.stash[_made]))
        del os.environ["TMPDIR"]
        tempfile.tempdir = None


def _remove(top: Path) -> None:
    """Tests leave directories that nobody may write to. What a failed one left mounted is not ours to remove."""
    if f" {top}/" in Path("/proc/self/mountinfo").read_text():
        return
    for folder, names, _ in os.walk(top):
        for path in (Path(folder, name) for name in names):
            if not path.is_symlink():
                path.chmod(0o700)
    shutil.rmtree(top)
