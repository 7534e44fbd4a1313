"""Whole builds by `./configure.py && make`, in copies of the source tree."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.model.config import BuildConfig
from tests.functional.support.programs import Outcome, RunningProgram

SRCDIR = Path(__file__).parents[3]

TIMEOUT = 3600.0
"""Seconds for a whole build with an empty cache on a slow machine."""

CHEAP_STEPS = ("flavor", "launcher", "userland", "rootfs", "image", "aci", "sign")
"""Beginnings of the names of steps that take seconds. All others compile or download."""


@dataclass(frozen=True)
class Checkout:
    """A copy of the source tree, with a build directory and a cache of its own."""

    srcdir: Path
    builddir: Path
    cache_dir: Path

    def configure(self, *options: str) -> Outcome:
        """Run configure.py to its end; `options` come after those that name our directories."""
        places = (f"--builddir={self.builddir}", f"--with-cache-dir={self.cache_dir}")
        with RunningProgram(
            ["./configure.py", *places, *options], cwd=self.srcdir, env=_environment({}), umask=0o22
        ) as running:
            return running.wait(TIMEOUT)

    def start(self, *words: str, env: Mapping[str, str] | None = None, umask: int = 0o22) -> RunningProgram:
        """Start make."""
        argv = ["make", f"BUILDDIR={self.builddir}", *words]
        return RunningProgram(argv, cwd=self.srcdir, env=_environment(env or {}), umask=umask)

    def make(self, *words: str, env: Mapping[str, str] | None = None, umask: int = 0o22) -> Outcome:
        """Run make to its end."""
        with self.start(*words, env=env, umask=umask) as running:
            return running.wait(TIMEOUT)

    def images(self) -> dict[str, str]:
        """SHA-256 of each finished image, by name."""
        return digests(self.builddir / "bin")


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each image in a folder, by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.aci"))}


def options_of(config: BuildConfig) -> list[str]:
    """Options of configure.py that build, in another directory, the images that `config` builds."""
    paths = ("--builddir", "--with-cache-dir", "--with-stage1-lkvm-src", "--with-stage1-kernel-config")
    options = [word for word in config.arguments if not word.startswith(paths) and word != "--install-deps"]
    if config.lkvm.source:
        options.append(f"--with-stage1-lkvm-src={config.lkvm.source}")
    if config.kernel.fragments:
        options.append("--with-stage1-kernel-config=" + ",".join(map(str, config.kernel.fragments)))
    return [*options, f"--with-stage1-kvm-hypervisors={','.join(config.stage1.hypervisors)}"]


def copy_source(target: Path) -> None:
    """Copy what git knows or would add of the source tree."""
    answer = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=SRCDIR,
        stdout=subprocess.PIPE,
        check=True,
    )
    for name in answer.stdout.decode().split("\0"):
        source = SRCDIR / name
        if name and (source.is_file() or source.is_symlink()):
            copy = target / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)


def seed_cache(source: Path, target: Path, left_out: Sequence[str] = CHEAP_STEPS) -> None:
    """Fill a cache with the entries of another, as hard links, but for the steps that begin with one of `left_out`."""
    for folder in ("steps", "downloads", "wheels", "apt"):
        if (source / folder).is_dir():
            (target / folder).mkdir(parents=True)
            for path in (source / folder).iterdir():
                if folder != "steps" or not path.name.startswith(tuple(left_out)):
                    subprocess.run(["cp", "-al", path, target / folder], check=True)


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MKSTAGE1_", "MFLAGS"))
    }
    return inherited | dict(extra)
