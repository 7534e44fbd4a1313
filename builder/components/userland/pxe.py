"""The userland `coreos`: the programs in a PXE image of Container Linux or of one of its successors.

Such an image is a compressed cpio archive with the file `usr.squashfs`, which is `/usr` of the system. rkt's own images
were made of one (rkt 1.30, stage1/usr_from_coreos).
"""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from builder.components.userland import collect, userland_steps
from builder.debian.deb import MERGED, PackageTree
from builder.engine.graph import StepContext
from builder.model.flavor import Flavor
from builder.model.mirrors import first_good
from builder.model.userland_origin import Origin
from builder.sources.download import fetch
from common import gpg
from common.errors import UserError
from common.process import CommandError

SQUASHFS = "usr.squashfs"
NAME = "pxe-image"
"""What the image is called in the record of packages. Its files have no package that says what their license is."""

_SQUASHFS_MAGIC = b"hsqs"
_CPIO_MAGIC = b"0707"
_CHUNK = 1 << 20


def run(context: StepContext, flavor: Flavor, location: str, key: Path | None) -> None:
    """Unpack the image and take the programs and their libraries. Raises `UserError` for what is no such image.

    `key`: file of the public keys that may have signed an image behind a URL.
    """
    image = _download(context, location, key) if key is not None else Path(location)
    root = _unpack(context, image, location)
    directories = (*userland_steps.search_path(context.machine)[1:], "usr/lib64/systemd")
    tree = PackageTree(root)
    entries = userland_steps.entries_of(flavor)
    selection = collect.collect(tree, entries, Origin.COREOS, location, directories, lambda _: "")
    version = context.config.userland.pxe_systemd_version or ""
    packed = {NAME: {"version": version, "architecture": context.machine.name, "source": Path(location).name}}
    collect.write(context.output, selection, packed)


def _download(context: StepContext, url: str, key: Path) -> Path:
    """Fetch an image and its signature, and check it. Raises `UserError` where it is not signed by the key."""
    if context.config.downloads.offline:
        raise UserError(f"{url} is needed and the build is offline", hint="name a local file instead")
    image = context.scratch / "pxe-image"
    signature = context.scratch / "pxe-image.sig"

    def get(place: str) -> None:
        fetch(f"{place}.sig", signature)
        fetch(place, image, progress=context.progress)
        signer = gpg.find_signer(image, signature, key, where=place)
        context.record("signed_by", signer.fingerprint)

    first_good(url, context.config.downloads.mirrors, get, context.notice)
    return image


def _unpack(context: StepContext, image: Path, location: str) -> Path:
    """The system in an image: a root directory with `usr`, and the old directories as links into it."""
    archive = context.scratch / "cpio"
    _decompress(image, archive, location)
    squashfs = context.scratch / SQUASHFS
    _extract_member(context, archive, squashfs, location)
    archive.unlink()
    root = context.scratch / "root"
    root.mkdir()
    try:
        context.execute(["unsquashfs", "-no-progress", "-no-xattrs", "-dest", root / "usr", squashfs])
    except CommandError as error:
        raise UserError(
            f"{location}: {SQUASHFS} cannot be unpacked", hint=f"what unsquashfs says is in {context.log}"
        ) from error
    squashfs.unlink()
    for name in MERGED:
        (root / name).symlink_to(f"usr/{name}")
    return root


def _decompress(image: Path, target: Path, location: str) -> None:
    plain = _begins_with(image, _CPIO_MAGIC)
    try:
        with image.open("rb") if plain else gzip.open(image) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, _CHUNK)
    except (OSError, EOFError) as error:
        raise UserError(
            f"{location}: not a PXE image: {error}", hint="it is a cpio archive, mostly with gzip"
        ) from error


def _extract_member(context: StepContext, archive: Path, target: Path, location: str) -> None:
    """Take the one file out of a cpio archive: no other name in it becomes a path here."""
    folder = context.scratch / "member"
    folder.mkdir()
    names = (SQUASHFS, f"./{SQUASHFS}")
    options = ["--extract", "--quiet", "--no-absolute-filenames", f"--file={archive}", f"--directory={folder}"]
    context.execute(["cpio", *options, *names], check=False)
    member = folder / SQUASHFS
    if not member.is_file() or member.is_symlink() or not _begins_with(member, _SQUASHFS_MAGIC):
        raise UserError(f"{location}: not a PXE image: it has no {SQUASHFS}", hint="see docs/components.md")
    member.rename(target)


def _begins_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic
