"""The key that signs a release: of a GnuPG home, with an agent or a smart card, or for a while from a file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.image.sign import SigningKey, configured_key, named_key
from builder.model.config import BuildConfig
from common.errors import UserError
from common.gpg import import_keys, open_gpg, throwaway_home


@contextmanager
def release_key(config: BuildConfig, key_file: Path | None) -> Iterator[SigningKey]:
    """The key that configure named, or the one in `key_file`, which is imported to a home that is gone afterwards.

    Raises `UserError` for a file that does not hold one secret key, and as `named_key`.
    """
    if key_file is None:
        key = configured_key(config)
        assert key is not None, "the preconditions demand a key"
        yield key
        return
    with throwaway_home() as home:
        try:
            fingerprint = _import(home, key_file)
            yield named_key(home, config.signing.fingerprint or fingerprint)
        finally:
            _shred(home / "private-keys-v1.d")


def merge_public_keys(files: Sequence[Path], target: Path) -> None:
    """Write the public keys of several files as one armored block, which is all that rkt reads of a file."""
    with throwaway_home() as home:
        known = import_keys(home, files)
        target.write_text(open_gpg(home).export_keys([key.fingerprint for key in known]))


def _import(home: Path, key_file: Path) -> str:
    try:
        data = key_file.read_bytes()
    except OSError as error:
        raise UserError(f"key file {key_file}: {error.strerror}") from error
    gpg = open_gpg(home)
    gpg.import_keys(data)
    keys = gpg.list_keys(secret=True)
    if len(keys) != 1:
        raise UserError(
            f"key file {key_file} holds {len(keys) or 'no'} secret keys, not one",
            hint="write it with gpg --export-secret-keys FINGERPRINT (or --export-secret-subkeys)",
        )
    return str(keys[0]["fingerprint"])


def _shred(folder: Path) -> None:
    """Overwrite what holds secret keys. Where a file system keeps old blocks that is no more than good manners."""
    for path in folder.glob("*"):
        with path.open("r+b") as file:
            file.write(os.urandom(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
