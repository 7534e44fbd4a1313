"""Debian packages and signed archives for tests, and a way to run one step without a build around it."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.engine.graph import Step
from builder.model.config import BuildConfig
from common.progress import Progress
from tests.support.openpgp import gpg
from tests.support.step_context import PlainContext


def need_debian_tools() -> None:
    for program in ("apt-get", "apt-cache", "apt-config", "dpkg-deb", "gpg"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@dataclass(frozen=True)
class Link:
    target: str


def make_deb(
    directory: Path,
    name: str,
    version: str,
    files: Mapping[str, str | bytes | Path | Link],
    *,
    source: str = "",
    depends: str = "",
) -> Path:
    """Build a package; text that begins with "#!" is executable, and so is what an executable path names."""
    tree = directory / f"{name}-{version}.tree"
    (tree / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\n"
    control += f"Source: {source}\n" if source else ""
    control += (f"Depends: {depends}\n" if depends else "") + "Description: for tests\n"
    (tree / "DEBIAN/control").write_text(control)
    for path, content in files.items():
        target = tree / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, Link):
            target.symlink_to(content.target)
        elif isinstance(content, Path):
            shutil.copy(content, target)
        else:
            data = content.encode() if isinstance(content, str) else content
            target.write_bytes(data)
            target.chmod(0o755 if data.startswith(b"#!") else 0o644)
    file = directory / f"{name}_{version.replace(':', '%3a')}_amd64.deb"
    subprocess.run(
        ["dpkg-deb", "-Znone", "--root-owner-group", "--build", str(tree), str(file)], check=True, capture_output=True
    )
    shutil.rmtree(tree)
    return file


def publish(root: Path, debs: list[Path], home: Path, *, suite: str = "bookworm", origin: str = "Debian") -> None:
    """Make `root` an archive with one suite, signed by the key in a gpg home. Its public half goes to `root.gpg`."""
    pool, index = root / "pool", root / "dists" / suite / "main/binary-amd64"
    shutil.rmtree(root, ignore_errors=True)
    pool.mkdir(parents=True)
    index.mkdir(parents=True)
    stanzas = []
    for deb in debs:
        shutil.copy(deb, pool / deb.name)
        control = subprocess.run(
            ["dpkg-deb", "--field", str(deb)], check=True, capture_output=True, text=True
        ).stdout.strip()
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        stanzas.append(f"{control}\nFilename: pool/{deb.name}\nSize: {deb.stat().st_size}\nSHA256: {digest}\n")
    packages = "\n".join(stanzas).encode()
    (index / "Packages").write_bytes(packages)
    release = (
        f"Origin: {origin}\nSuite: {suite}\nCodename: {suite}\nArchitectures: amd64\nComponents: main\n"
        "Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n"
        f" {hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-amd64/Packages\n"
    )
    signed = gpg(home, "--clearsign", "--output", "-", stdin=release)
    (root / "dists" / suite / "InRelease").write_text(signed)
    gpg(home, "--export", "--output", str(root.with_suffix(".gpg")))


class Context(PlainContext):
    """As the plain one; a progress bar has to come to its end."""

    progressed = 0

    @contextlib.contextmanager
    def progress(self, total: int | None, unit: str) -> Iterator[Progress]:
        with super().progress(total, unit) as bar:
            yield bar
        assert total == self.bars[-1].done
        self.progressed += self.bars[-1].done

    def detail(self, text: str) -> None:
        pass


def run_step(step: Step, config: BuildConfig, root: Path) -> Context:
    """Run a step into `root/<name>`, with its needs from there too."""
    place = root / f"{step.name}.step"
    shutil.rmtree(place, ignore_errors=True)
    context = Context(place, config, step, {name: root / name for name in step.needs}, jobs=1)
    step.run(context)
    shutil.rmtree(root / step.name, ignore_errors=True)
    context.output.rename(root / step.name)
    context.output = root / step.name
    return context
