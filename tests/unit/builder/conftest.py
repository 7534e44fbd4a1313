"""Small trees that become images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.image.archive import ArchiveResult, write_aci
from builder.image.manifest import stage1_manifest
from builder.model.config import Compression

TEMPLATE = Path(__file__).parents[3] / "flavors" / "kvm" / "manifest.json.j2"
EPOCH = 1767225600

Pack = Callable[..., ArchiveResult]


@pytest.fixture
def manifest() -> bytes:
    return stage1_manifest(TEMPLATE, name="coreos.com/rkt/stage1-kvm", version="1.31.0+git", arch="amd64")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The root of the smallest image that is complete."""
    root = tmp_path / "tree"
    for directory in ("opt/stage2", "rkt/env", "rkt/status", "usr/bin"):
        (root / directory).mkdir(parents=True)
    for program in ("init", "enter_kvm", "gc", "stop_kvm", "attach"):
        (root / program).write_text("#!/bin/sh\n")
        (root / program).chmod(0o755)
    (root / "usr/bin/app").write_bytes(b"\x7fELF" + bytes(5000))
    (root / "bin").symlink_to("usr/bin")
    return root


@pytest.fixture
def pack(tmp_path: Path, manifest: bytes) -> Pack:
    """Writes layers into `tmp_path/stage1.aci`, or the target that is named."""

    def write(
        *layers: Path,
        target: Path = tmp_path / "stage1.aci",
        manifest: bytes = manifest,
        compression: Compression = Compression.NONE,
        modes: dict[str, int] | None = None,
    ) -> ArchiveResult:
        return write_aci(target, manifest, layers, epoch=EPOCH, compression=compression, modes=modes or {})

    return write
