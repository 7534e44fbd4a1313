"""Who signed an image, and is that key trusted for it? Signatures are detached, made over the file as it is served."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.gpg import PublicKey, UnknownSignerError, WeakDigestError, find_signer, open_gpg, throwaway_home
from stage0.keys.keystore import Keystore

_FINGERPRINT_LENGTH = 40
_ARMOR = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"


@dataclass(frozen=True)
class KeyDescription:
    """One key of a file, as people review it."""

    fingerprint: str
    """Of the primary key, 40 upper-case hex digits."""
    subkeys: tuple[str, ...]
    """Fingerprints."""
    user_ids: tuple[str, ...]


def describe_keys(data: bytes, where: str) -> tuple[KeyDescription, ...]:
    """The keys in an armored file, in its order: the first one is what the keystore trusts.

    Raises `UserError`, which begins with `where`, for anything else.
    """
    if _ARMOR not in data:
        raise UserError(
            f"{where}: no armored OpenPGP public key found", hint="gpg --armor --export FINGERPRINT makes such a file"
        )
    with throwaway_home() as home:
        gpg = open_gpg(home, ["--trust-model", "always", "--no-autostart"])
        fingerprints = dict.fromkeys(gpg.import_keys(data).fingerprints)
        listed = {key["fingerprint"]: key for key in gpg.list_keys()}
    if not fingerprints or any(len(fingerprint) != _FINGERPRINT_LENGTH for fingerprint in fingerprints):
        raise UserError(f"{where}: there is no valid OpenPGP key of version 4 in it")
    return tuple(
        KeyDescription(
            fingerprint,
            tuple(subkey[2] for subkey in listed[fingerprint]["subkeys"]),
            tuple(listed[fingerprint]["uids"]),
        )
        for fingerprint in fingerprints
    )


def find_any_signer(data: Path, signature: Path, keystore: Keystore, where: str) -> PublicKey:
    """The key that signed `data`, which is one that the keystore trusts for some image: `require_trust` says for which.

    Nothing of `data` is interpreted. Raises `UserError`, one line that begins with `where`, for anything but a good
    signature by a key of the keystore that is neither expired nor revoked.
    """
    entries = [entry for entry in keystore.entries() if not entry.masks]
    if not entries:
        raise UserError(f"{where}: the keystore holds no key", hint=trust_hint("<image>"))
    files, fingerprints = [entry.path for entry in entries], {entry.fingerprint for entry in entries}
    try:
        return find_signer(data, signature, files, fingerprints, where=where)
    except UnknownSignerError as error:
        raise UserError(f"signature made by unknown entity: {error}", hint=trust_hint("<image>")) from error


def require_trust(signer: PublicKey, keystore: Keystore, name: str, where: str) -> None:
    """Raise `UserError` unless `signer` is trusted for the image `name`."""
    file = keystore.keys_for(name).get(signer.fingerprint.lower())
    if file is None:
        raise UserError(
            f"{where}: signed by {signer.fingerprint}, which is not trusted for {name!r}", hint=trust_hint(name)
        )
    first = describe_keys(file.read_bytes(), str(file))[0].fingerprint.lower()
    if first != file.name:
        raise UserError(f"{file}: fingerprint mismatch: the first key in it is {first}")


def check_identity(signature: Path, keystore: Keystore, name: str, where: str) -> None:
    """Refuse a signature that none of the keys trusted for `name` made, before the image itself is there.

    What passes may still not fit the image. Raises `UserError`.
    """
    keys = keystore.keys_for(name)
    if not keys:
        raise UserError(f"{where}: no key is trusted for {name!r}", hint=trust_hint(name))
    with tempfile.NamedTemporaryFile() as empty:
        try:
            find_signer(Path(empty.name), signature, tuple(keys.values()), tuple(keys), where=where)
        except UnknownSignerError as error:
            raise UserError(f"signature made by unknown entity: {error}", hint=trust_hint(name)) from error
        except WeakDigestError:
            raise
        except UserError:
            return  # a known key made it: of course it does not fit the empty file


def trust_hint(name: str) -> str:
    """What to do about a key that is not trusted, in rkt's words."""
    return f'if you expected the signing key to change, try running: rkt trust --prefix "{name}"'
