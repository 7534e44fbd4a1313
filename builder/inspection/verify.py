"""Is a file an image that rkt can use, as a stage1 or as an app, and who signed it?"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from builder.image.layers import PROGRAM_MODE
from builder.image.manifest import ENTRY_POINTS
from builder.image.sign import PUBLIC_KEY_PATTERN, SIGNATURE_SUFFIX
from builder.inspection.image import Image, clean
from common.aci.names import MANIFEST, ROOTFS
from common.aci.schema import annotation, label, parse_manifest
from common.archive import Entry, EntryType
from common.errors import UserError
from common.gpg import find_signer

INTERFACE_VERSION = f"{ENTRY_POINTS}interface-version"
REQUIRED_ENTRY_POINTS = ("run", "enter", "gc")
RESERVED_DIRECTORIES = ("opt/stage2", "rkt/env", "rkt/status")
"""Directories that rkt fills in a pod; it refuses to start where they are missing."""


class Outcome(StrEnum):
    """How a check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "not checked"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    subject: str
    outcome: Outcome
    details: tuple[str, ...] = ()
    """What is wrong, or why it was not checked, or whose signature it is."""


def verify_image(image: Image) -> tuple[Check, ...]:
    """Check layout and schema of an image that was read, and the entry points of a stage1 or the labels of an app."""
    layout = tuple(_layout(image.entries))
    manifest, problem = _manifest(image)
    checks = [_check("layout", layout), _check("schema", (problem,) if problem else ())]
    if manifest is None:
        return (*checks, Check("entry points", Outcome.SKIPPED, ("the manifest is not usable",)))
    if manifest.get("app") and not any(map(_is_entry_point, manifest.get("annotations") or ())):
        return (*checks, _check("app", tuple(_app(manifest))))
    return (*checks, _check("entry points", tuple(_entry_points(image, manifest))))


def verify_signature(image: Path, signature: Path | None, keys: Sequence[Path]) -> Check:
    """Check the detached signature of an image against public keys.

    By default the signature is `<image>.asc`, and the keys are those that lie beside the image, *.pub.asc. A signature
    or keys that were asked for and are not there fail the check.
    """
    path = signature or image.with_name(image.name + SIGNATURE_SUFFIX)
    if not path.is_file():
        missing = f"there is no {path}"
        return Check("signature", Outcome.FAILED if signature or keys else Outcome.SKIPPED, (missing,))
    known = list(keys) or sorted(image.parent.glob(PUBLIC_KEY_PATTERN))
    if not known:
        reason = f"no public key: neither given nor {PUBLIC_KEY_PATTERN} beside the image"
        return Check("signature", Outcome.FAILED if signature else Outcome.SKIPPED, (reason,))
    try:
        signer = find_signer(image, path, known)
    except UserError as error:
        return Check("signature", Outcome.FAILED, (str(error),))
    source = ", ".join(key.name for key in known)
    trust = "" if keys else "; this says nothing about whom the key belongs to: compare the fingerprint"
    who = signer.user_id if signer.user_id.isprintable() else ascii(signer.user_id)
    return Check("signature", Outcome.OK, (f"by {signer.fingerprint} ({who}), key from {source}{trust}",))


def _check(subject: str, problems: tuple[str, ...]) -> Check:
    return Check(subject, Outcome.FAILED if problems else Outcome.OK, problems)


def _manifest(image: Image) -> tuple[dict[str, Any] | None, str]:
    if image.manifest is None:
        return None, f"{MANIFEST} is missing"
    try:
        return parse_manifest(image.manifest, MANIFEST), ""
    except UserError as error:
        return None, str(error)


def _layout(entries: Sequence[Entry]) -> Iterator[str]:
    """Rules of appc spec 0.8.11 (Image Archives), and of safe extraction."""
    seen: dict[str, Entry] = {}
    for entry in entries:
        name = clean(entry.name)
        if name == "." and entry.type is EntryType.DIRECTORY:
            continue
        fault = _name_fault(name)
        if fault:
            yield f"{entry.name!a} {fault}"
            continue
        if name in seen:
            yield f"{entry.name!a} is there twice"
        if entry.uid or entry.gid:
            yield f"{entry.name!a} belongs to {entry.uid}:{entry.gid}, not to 0:0"
        if entry.type is EntryType.HARD_LINK:
            target = seen.get(clean(entry.target))
            if target is None or target.type not in (EntryType.FILE, EntryType.HARD_LINK):
                yield f"{entry.name!a} is a hard link to {entry.target!a}, which is no file before it"
        seen.setdefault(name, entry)
    yield from _missing(seen)
    for name, entry in seen.items():
        above = posixpath.dirname(name)
        while above and above not in seen:
            above = posixpath.dirname(above)
        if above and seen[above].type is not EntryType.DIRECTORY:
            yield f"{entry.name!a} lies below {seen[above].name!a}, which is no directory"


def _name_fault(name: str) -> str:
    if not name.isprintable():
        return "has a name that is not printable UTF-8 text"
    if name.startswith("/"):
        return "has an absolute name"
    parts = name.split("/")
    if ".." in parts:
        return 'leads out of the image with ".."'
    if "." in parts or "" in parts:
        return "has a name that is not in its shortest form"
    if parts[0] not in (MANIFEST, ROOTFS) or (parts[0] == MANIFEST and len(parts) > 1):
        return f"is neither {MANIFEST} nor in {ROOTFS}"
    return ""


def _missing(seen: dict[str, Entry]) -> Iterator[str]:
    for name, kind in ((MANIFEST, EntryType.FILE), (ROOTFS, EntryType.DIRECTORY)):
        if name not in seen or seen[name].type is not kind:
            yield f"{name} is missing or of another type than {kind.name.lower()}"


def _is_entry_point(item: dict[str, Any]) -> bool:
    return str(item["name"]).startswith(ENTRY_POINTS)


def _app(manifest: dict[str, Any]) -> Iterator[str]:
    """What rkt asks of an app besides the schema."""
    for name in ("os", "arch"):
        if label(manifest, name) is None:
            yield f"the label {name} is missing"


def _entry_points(image: Image, manifest: dict[str, Any]) -> Iterator[str]:
    rootfs = {clean(entry.name).removeprefix(f"{ROOTFS}/"): entry for entry in image.entries}
    for name in REQUIRED_ENTRY_POINTS:
        if annotation(manifest, ENTRY_POINTS + name) is None:
            yield f"the annotation {ENTRY_POINTS}{name} is missing"
    for item in manifest.get("annotations") or ():
        if _is_entry_point(item) and item["name"] != INTERFACE_VERSION:
            yield from _program(rootfs, item["name"], item["value"])
    version = annotation(manifest, INTERFACE_VERSION)
    if version is not None and not (version.isascii() and version.isdigit()):
        yield f"the annotation {INTERFACE_VERSION} is {version!a}, not a whole number"
    for key in ("app", "dependencies"):
        if manifest.get(key):
            yield f"the manifest has {key}: that is for applications, not for a stage1"
    for directory in RESERVED_DIRECTORIES:
        entry = rootfs.get(directory)
        if entry is None or entry.type is not EntryType.DIRECTORY:
            yield f"the directory /{directory} is missing"
        elif any(name.startswith(f"{directory}/") for name in rootfs):
            yield f"the directory /{directory} is not empty"


def _program(rootfs: dict[str, Entry], name: str, path: str) -> Iterator[str]:
    entry = rootfs.get(path.removeprefix("/"))
    if not path.startswith("/"):
        yield f"the annotation {name} is {path!a}, not an absolute path"
    elif entry is None:
        yield f"{name}: the image has no {path!a}"
    elif entry.type is not EntryType.FILE:
        yield f"{name}: {path!a} is a {entry.type.name.lower().replace('_', ' ')}, not a file"
    elif entry.mode != PROGRAM_MODE:
        yield f"{name}: {path!a} has mode {entry.mode:04o}, not {PROGRAM_MODE:04o}"
