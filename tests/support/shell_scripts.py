"""`make shellcheck`: every shell script that runs on a host, in a guest or in CI, as it will be executed.

Entry points are templates, so that each flavor is rendered first, with a journal in its guest and without.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from builder.image import guest_settings
from builder.image.rootfs import fill
from builder.model.flavor import Flavor, Flavors

ROOT = Path(__file__).resolve().parents[2]
VALUES = {
    "flavor": "kvm",
    "version": "1.0",
    "arch": "amd64",
    "loader": "usr/lib64/ld-linux-x86-64.so.2",
    "library_path": "usr/lib/x86_64-linux-gnu",
    "python": "usr/bin/python3",
    "launcher": "usr/lib/stage1/stage1.pyz",
    "starter": "the hypervisor",
    "place": "virtual machine",
    "end_action": "reboot-force",
}
_SHEBANG = re.compile(rb"#! ?(/usr)?/bin/(env )?(ba|da)?sh\b")


def is_shell(path: Path) -> bool:
    """Whether a file is a script for a shell."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as stream:
        return _SHEBANG.match(stream.readline(200)) is not None


def render(folder: Path) -> tuple[Path, ...]:
    """Put everything that flavors bring, and `.ci`, into an empty folder; return the scripts there, relative to it."""
    shutil.copytree(ROOT / ".ci", folder / "ci")
    flavors = Flavors.of(ROOT)
    for name in flavors.names:
        flavor = flavors.load(name)
        for variant, values in _variants(flavor):
            fill(flavor, folder / variant, values)
    return tuple(path.relative_to(folder) for path in sorted(folder.rglob("*")) if is_shell(path))


def _variants(flavor: Flavor) -> Iterator[tuple[str, Mapping[str, object]]]:
    values = {**VALUES, **guest_settings.guest(flavor)}
    yield flavor.name, values
    yield f"{flavor.name}-without-journal", values | {"journal": False}


def program() -> str:
    """Shellcheck of this virtual environment, or of the system; empty where there is none."""
    beside = Path(sys.executable).with_name("shellcheck")
    return str(beside) if beside.is_file() else shutil.which("shellcheck") or ""


def check(folder: Path, scripts: tuple[Path, ...]) -> subprocess.CompletedProcess[str]:
    """Run shellcheck over scripts below a folder."""
    argv = [program(), "--norc", "--format=gcc", "--", *map(str, scripts)]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)


def main() -> int:
    """Say what shellcheck finds; end with its status."""
    if not program():
        print("shellcheck is not installed: the shell scripts are not checked", file=sys.stderr)
        return 0
    with tempfile.TemporaryDirectory(prefix="shellcheck-") as name:
        done = check(Path(name), render(Path(name)))
    print(done.stdout, end="")
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
