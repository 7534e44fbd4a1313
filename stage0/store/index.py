"""The index of the image store: an sqlite database, shared by any number of processes.

Every change is one immediate transaction. What a killed process began is undone by the next that opens the file.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import NewType

from common.errors import UserError
from stage0.store.locks import key_lock

ImageId = NewType("ImageId", str)
"""An image ID as rkt's store shortens it: "sha512-" and 64 hex digits."""

_VERSION = 1
_BUSY_SECONDS = 120
_SCHEMA = """
CREATE TABLE image (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, manifest TEXT NOT NULL, imported INTEGER NOT NULL, used INTEGER NOT NULL,
    latest INTEGER NOT NULL, size INTEGER NOT NULL, tree_size INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX image_name ON image (name);
CREATE TABLE remote (
    url TEXT PRIMARY KEY, signature_url TEXT NOT NULL, etag TEXT NOT NULL, image_id TEXT NOT NULL,
    cache_max_age INTEGER NOT NULL, downloaded REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX remote_image ON remote (image_id);
"""


@dataclass(frozen=True)
class ImageInfo:
    """What the index knows of an image."""

    id: ImageId
    name: str
    manifest: str
    """Canonical JSON, as `common.aci.canonical` writes it."""
    imported: int
    """Nanoseconds since 1970."""
    used: int
    """When the image was used last, in nanoseconds since 1970."""
    latest: bool
    """It was asked for without a version."""
    size: int
    """Bytes of the uncompressed tar."""
    tree_size: int
    """Bytes of the tree that was rendered from it, 0 where there is none."""

    @property
    def labels(self) -> dict[str, str]:
        """The labels in the manifest."""
        return {item["name"]: item["value"] for item in json.loads(self.manifest).get("labels", ())}

    @property
    def title(self) -> str:
        """The name, with the version where the image has one."""
        version = self.labels.get("version")
        return self.name if version is None else f"{self.name}:{version}"


@dataclass(frozen=True)
class Remote:
    """Where an image came from."""

    url: str
    signature_url: str
    """Empty where no signature was asked for."""
    etag: str
    image_id: ImageId
    cache_max_age: int
    """Seconds."""
    downloaded: float
    """Seconds since 1970."""


class Index:
    """One connection; `close` it. Raises `UserError` where the database cannot be used."""

    def __init__(self, path: Path, lock_directory: Path) -> None:
        self._path = path
        with self._faults(), key_lock(lock_directory, path.name):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660))
            self._connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
            self._prepare()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def _prepare(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise UserError(f"{self._path}: made by a newer rkt (format {version}, known are formats up to {_VERSION})")
        if version == 0:
            self._path.chmod(0o660)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            hint = "remove it and fetch the images again" if _is_damage(error) else ""
            raise UserError(f"{self._path}: {error}", hint=hint) from error

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with self._faults():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def put_image(self, info: ImageInfo) -> None:
        """Add an image, or note that it was imported again; the size of its tree stays."""
        with self._change() as connection:
            connection.execute(
                "INSERT INTO image VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " imported = excluded.imported, used = excluded.used, latest = excluded.latest, size = excluded.size",
                astuple(info),
            )

    def touch(self, image_id: ImageId, now: int) -> None:
        """Note the time at which an image was used."""
        with self._change() as connection:
            connection.execute("UPDATE image SET used = max(used, ?) WHERE id = ?", (now, image_id))

    def set_tree_size(self, image_id: ImageId, size: int) -> None:
        """Note the bytes of the tree of an image."""
        with self._change() as connection:
            connection.execute("UPDATE image SET tree_size = ? WHERE id = ?", (size, image_id))

    def remove_image(self, image_id: ImageId) -> bool:
        """Forget an image and where it came from; whether it was known."""
        with self._change() as connection:
            connection.execute("DELETE FROM remote WHERE image_id = ?", (image_id,))
            return connection.execute("DELETE FROM image WHERE id = ?", (image_id,)).rowcount > 0

    def image(self, image_id: ImageId) -> ImageInfo | None:
        """What is known of an image."""
        return next(iter(self._images("WHERE id = ?", image_id)), None)

    def images_with_prefix(self, prefix: str) -> list[ImageInfo]:
        """Images whose IDs begin so; with an empty prefix all, in the order of their import."""
        return self._images("WHERE substr(id, 1, length(?1)) = ?1 ORDER BY imported, id", prefix)

    def images_named(self, name: str) -> list[ImageInfo]:
        """Images of one name, in the order of their import."""
        return self._images("WHERE name = ? ORDER BY imported, id", name)

    def _images(self, condition: str, value: str) -> list[ImageInfo]:
        with self._faults():
            rows = self._connection.execute(f"SELECT * FROM image {condition}", (value,)).fetchall()
        return [
            ImageInfo(ImageId(row[0]), row[1], row[2], row[3], row[4], bool(row[5]), row[6], row[7]) for row in rows
        ]

    def put_remote(self, remote: Remote) -> None:
        """Note where an image came from, instead of what was known of that URL."""
        with self._change() as connection:
            connection.execute("INSERT OR REPLACE INTO remote VALUES (?, ?, ?, ?, ?, ?)", astuple(remote))

    def remote(self, url: str) -> Remote | None:
        """What came from a URL, where the image is still there."""
        with self._faults():
            row = self._connection.execute(
                "SELECT remote.* FROM remote JOIN image ON image.id = remote.image_id WHERE url = ?", (url,)
            ).fetchone()
        return None if row is None else Remote(*row)


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
