"""What may be in an image: the names of its entries, checked one by one as they come.

The checks are made when an image is imported, so that a bad one never reaches the store, and again when it is
extracted, where the file descriptors of `stage0.store.extract` are a second barrier.
"""

from __future__ import annotations

from common.aci.names import MANIFEST, ROOTFS
from common.archive import Entry, EntryType, Limits, split_name
from common.errors import UserError

LIMITS = Limits(tar_size=64 << 30, entries=1_000_000, kind="image")

_MAX_ID = 2**32 - 2
_DEVICES = frozenset({(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)})
"""Character devices that hold nothing of the host: null, zero, full, random, urandom, tty, console, ptmx."""


class Layout:
    """The entries of one image that were seen so far."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._kinds: dict[str, EntryType] = {"": EntryType.DIRECTORY}

    def admit(self, entry: Entry) -> str:
        """The name of an entry in its shortest form, "" for the top of the image.

        Raises `UserError` for what could leave the root of an extraction, or be another thing than it seems: absolute
        names and `..`, entries below a link, hard links to what is not before them in the same tree, a second entry
        of one name, devices of the host, numbers out of range.
        """
        name = self._shortest(entry.name, entry.name)
        before = self._kinds.get(name)
        if before is not None and not (before is entry.type is EntryType.DIRECTORY):
            raise self._refuse(entry.name, "is there twice")
        self._admit_parents(entry.name, name)
        if name in (MANIFEST, ROOTFS):
            wanted = EntryType.FILE if name == MANIFEST else EntryType.DIRECTORY
            if entry.type is not wanted:
                raise self._refuse(entry.name, f"is not a {wanted.name.lower()}")
        self._check_content(entry, name)
        self._kinds[name] = entry.type
        return name

    def target(self, entry: Entry) -> str:
        """The name of what a hard link of this image that was admitted links to."""
        return self._shortest(entry.target, entry.name)

    def _refuse(self, name: str, reason: str) -> UserError:
        return UserError(f"{self._image}: entry {name!a} {reason}", hint="the image is not to be trusted")

    def _shortest(self, text: str, entry: str) -> str:
        try:
            return "/".join(split_name(text, LIMITS))
        except ValueError as error:
            raise self._refuse(entry[:80], str(error)) from error

    def _admit_parents(self, shown: str, name: str) -> None:
        """Directories that have no entry of their own are made on the way."""
        missing = []
        parent = name.rpartition("/")[0]
        while (kind := self._kinds.get(parent)) is None:
            missing.append(parent)
            parent = parent.rpartition("/")[0]
        if kind is not EntryType.DIRECTORY:
            raise self._refuse(shown, f"would be written through the {_words(kind)} {parent!a}")
        for directory in missing:
            self._kinds[directory] = EntryType.DIRECTORY

    def _check_content(self, entry: Entry, name: str) -> None:
        if not (0 <= entry.uid <= _MAX_ID and 0 <= entry.gid <= _MAX_ID):
            raise self._refuse(entry.name, f"belongs to {entry.uid}:{entry.gid}, which cannot be")
        if entry.type is EntryType.HARD_LINK:
            target = self.target(entry)
            if self._kinds.get(target, EntryType.DIRECTORY) is EntryType.DIRECTORY:
                raise self._refuse(entry.name, f"is a hard link to {entry.target!a}, which is no file before it")
            if target.partition("/")[0] != name.partition("/")[0]:
                raise self._refuse(entry.name, f"is a hard link to {entry.target!a}, outside its tree")
        elif entry.type is EntryType.SYMLINK:
            length = len(entry.target.encode("utf-8", "surrogateescape"))
            if not 0 < length < 4096 or "\0" in entry.target:
                raise self._refuse(entry.name, "is a symlink to nothing that could be")
        elif entry.type is EntryType.BLOCK_DEVICE or (
            entry.type is EntryType.CHARACTER_DEVICE and entry.device not in _DEVICES
        ):
            major, minor = entry.device
            raise self._refuse(entry.name, f"is a {_words(entry.type)} {major}:{minor}, which no image may bring")


def _words(kind: EntryType) -> str:
    return kind.name.lower().replace("_", " ")
