"""What a pod's programs see of the host, where a test needs a host that is another one. The host itself stays."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

_SCRIPT = """
set -e
base=$1
for folder in $2; do
    mount -t overlay overlay -o "lowerdir=/$folder,upperdir=$base/upper/$folder,workdir=$base/work/$folder" "/$folder"
done
for program in $3; do
    mount --bind /dev/null "$program"
done
shift 3
exec "$@"
"""


class HostView:
    """Folders of the host that may be changed, and programs that are not there.

    `prefix` is what comes before the words of a command; the process stays the same one.
    """

    def __init__(self, base: Path, folders: Sequence[str], without: Sequence[str] = ()) -> None:
        """`folders` are relative to the root, `without` names of programs. What changes is below `base`."""
        self._base = base
        for name in folders:
            for kind in ("upper", "work"):
                (base / kind / name).mkdir(parents=True)
        # A device is not executable, not even for root.
        hidden = {str(Path(path).resolve()) for name in without if (path := shutil.which(name))}
        arguments = (str(base), " ".join(folders), " ".join(hidden))
        self.prefix = ("unshare", "--mount", "sh", "-c", _SCRIPT, "sh", *arguments)

    def changed(self, path: str) -> Path:
        """A file of one of the folders, as it is in this view, to be written before or read afterwards."""
        return self._base / "upper" / path.removeprefix("/")


def open_for_others(folder: Path) -> None:
    """Let users who are not its owner reach a folder of pytest's, which makes its own for one user alone."""
    for each in (folder, *folder.parents):
        mode = each.stat().st_mode
        if mode & 0o011 != 0o011:
            each.chmod(mode | 0o011)


def require_programs(*names: str) -> None:
    """Skip the test where the machine lacks one."""
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
