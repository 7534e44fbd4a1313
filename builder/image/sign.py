"""Detached, ASCII-armored signatures over finished images, in the form that rkt 1.x reads."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.model.config import BuildConfig, Signer
from common.errors import UserError
from common.files import beside, write_atomically
from common.gpg import borrowed_home, find_signer, full_fingerprint, open_gpg

SIGNATURE_SUFFIX = ".asc"
DEVELOPMENT_KEY_FILE = "stage1-development-key.pub.asc"
SIGNING_KEY_FILE = "stage1-signing-key.pub.asc"
PUBLIC_KEY_PATTERN = "*.pub.asc"
"""How public keys beside an image are found."""

_DEVELOPMENT_HOME = "gnupg"
_FINGERPRINT_FILE = "development-key.fingerprint"
_DEVELOPMENT_USER = "stage1 development key (not for distribution)"
_DEVELOPMENT_KEY = f"""\
Key-Type: RSA
Key-Length: 3072
Key-Usage: sign
Name-Real: {_DEVELOPMENT_USER}
Expire-Date: 0
%no-protection
%commit
"""
_DIGEST = "SHA512"
_READABLE = frozenset({"1", "3", "17", "19"})
"""RSA, DSA and ECDSA (RFC 4880, 9.1), all that the OpenPGP library in rkt 1.x can verify; Ed25519 is not among them."""

_CREATED = re.compile(r"^\[GNUPG:\] SIG_CREATED D (\d+) ", re.MULTILINE)
_UNUSABLE = {"e": "has expired", "r": "was revoked", "d": "is disabled", "i": "is not valid"}
"""Field 2 of `gpg --with-colons` (GnuPG's doc/DETAILS) for keys that may not sign."""


@dataclass(frozen=True)
class SigningKey:
    """A secret key that is at hand."""

    home: Path
    fingerprint: str
    """Of the primary key, 40 upper-case hex digits."""
    user_id: str
    development: bool
    selector: str
    """What tells gpg to use exactly this key: a fingerprint, with "!" after that of a subkey."""


@dataclass(frozen=True)
class Signature:
    """A signature that was made and verified."""

    path: Path
    fingerprint: str
    """Of the primary key, 40 upper-case hex digits."""
    user_id: str
    development: bool
    public_key: Path
    warning: str
    """What people should know about it; empty for nothing."""

    def describe(self) -> str:
        """The key, for summaries: a development key is called one wherever it is named."""
        kind = "development key" if self.development else "key"
        return f"{kind} {self.fingerprint} ({self.user_id})"


def sign(target: Path, config: BuildConfig) -> Signature | None:
    """Sign `target` into `<target>.asc` and put the public half of the key beside both.

    The signature is verified in a throw-away home that knows only that public half, by its full fingerprint, before
    it takes its name. Without a key to sign with ("none") an old signature is removed and `None` returned.

    Raises `UserError` for a key that is unknown, expired, revoked or disabled, and for a wrong passphrase.
    """
    target.with_name(target.name + SIGNATURE_SUFFIX).unlink(missing_ok=True)
    if config.signing.signer is Signer.NONE:
        return None
    key = configured_key(config) or development_key(config)
    public_key = target.with_name(DEVELOPMENT_KEY_FILE if key.development else SIGNING_KEY_FILE)
    return sign_with(target, key, public_key, config.signing.passphrase_file)


def configured_key(config: BuildConfig) -> SigningKey | None:
    """The key that the configuration names; None where it names none. Raises `UserError` as `named_key`."""
    fingerprint = config.signing.fingerprint
    return named_key(gnupg_home(config.signing.gnupg_home), fingerprint) if fingerprint else None


def gnupg_home(given: Path | None) -> Path:
    """A GnuPG home that was named, or the user's own."""
    return given if given else Path.home() / ".gnupg"


def sign_with(target: Path, key: SigningKey, public_key: Path, passphrase_file: Path | None = None) -> Signature:
    """Sign `target` with a key into `<target>.asc`, and write the public half to `public_key`. As `sign` otherwise."""
    path = target.with_name(target.name + SIGNATURE_SUFFIX)
    path.unlink(missing_ok=True)
    passphrase = _passphrase(passphrase_file)
    with beside(path) as temporary:
        with borrowed_home(key.home) as home:
            _export(key, home, public_key)
            algorithm = _sign(key, home, target, temporary, passphrase)
        find_signer(target, temporary, public_key, {key.fingerprint})
    warning = "" if algorithm in _READABLE else f"{path.name}: rkt 1.x cannot read signatures by a key of this kind"
    return Signature(path, key.fingerprint, key.user_id, key.development, public_key, warning)


def development_key(config: BuildConfig) -> SigningKey:
    """The key of the build directory: made at the first call, RSA, without a passphrase, in a home of mode 0700.

    It lives in the build directory alone, never in the shared cache.
    """
    home = config.builddir / _DEVELOPMENT_HOME
    with (config.builddir / f".{_DEVELOPMENT_HOME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / _FINGERPRINT_FILE).is_file():
            _make_development_key(home)
    fingerprint = full_fingerprint((home / _FINGERPRINT_FILE).read_text().strip())
    return SigningKey(home, fingerprint, _DEVELOPMENT_USER, True, fingerprint)


def _make_development_key(home: Path) -> None:
    """Make the home under another name first: a build that is killed here leaves no half of a key behind."""
    shutil.rmtree(home, ignore_errors=True)
    with beside(home, home.with_name(f".{home.name}.partial")) as partial:
        partial.mkdir()
        partial.chmod(0o700)
        with borrowed_home(partial) as reachable:
            result = open_gpg(reachable).gen_key(_DEVELOPMENT_KEY)
        if not result.fingerprint:
            raise UserError(f"{home}: gpg cannot make a development key: {_reason(str(result.stderr))}")
        (partial / _FINGERPRINT_FILE).write_text(f"{result.fingerprint}\n")


def named_key(home: Path, fingerprint: str) -> SigningKey:
    """The secret key in the GnuPG home `home` with a full fingerprint, its own or that of one of its subkeys.

    Raises `UserError` where there is none or it may not sign.
    """
    wanted = full_fingerprint(fingerprint)
    where = f"signing key {wanted}"
    with borrowed_home(home) as reachable:
        keys = open_gpg(reachable).list_keys(secret=True, keys=wanted)
    if not keys:
        raise UserError(
            f"{where}: {home} has no such secret key", hint=f"gpg --homedir {home} --list-secret-keys shows what it has"
        )
    key: Mapping[str, Any] = keys[0]
    subkeys = [subkey for subkey in key.get("subkey_info", {}).values() if subkey["fingerprint"] == wanted]
    user_id = next(iter(key["uids"]), "")
    for part in (key, *subkeys):
        if part["trust"] in _UNUSABLE:
            raise UserError(f"{where} ({user_id}) {_UNUSABLE[part['trust']]}")
    return SigningKey(home, str(key["fingerprint"]), user_id, False, f"{wanted}!" if subkeys else wanted)


def _passphrase(file: Path | None) -> str | None:
    """Its first line. gpg gets it through a pipe; without a file the agent has it or asks."""
    if file is None:
        return None
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"passphrase file {file}: {error}") from error
    passphrase = text.split("\n", 1)[0].rstrip("\r")
    if not passphrase:
        raise UserError(f"passphrase file {file}: its first line is empty")
    return passphrase


def _export(key: SigningKey, home: Path, target: Path) -> None:
    armored = open_gpg(home).export_keys(key.fingerprint)
    if not armored:
        raise UserError(f"signing key {key.fingerprint}: gpg cannot export its public half from {key.home}")
    write_atomically(target, armored)


def _sign(key: SigningKey, home: Path, target: Path, signature: Path, passphrase: str | None) -> str:
    """Make the signature and return the number of its public-key algorithm."""
    with target.open("rb") as file:
        result = open_gpg(home).sign_file(
            file,
            keyid=key.selector,
            passphrase=passphrase,
            detach=True,
            output=os.fspath(signature),
            extra_args=["--digest-algo", _DIGEST],
        )
    created = _CREATED.search(str(result.stderr))
    if created is None:
        source = "the passphrase file" if passphrase is not None else "the agent"
        raise UserError(
            f"signing key {key.fingerprint} ({key.user_id}): gpg cannot sign: {_reason(str(result.stderr))}",
            hint=f"the passphrase came from {source}; --with-passphrase-file=FILE names a file that has it",
        )
    return created[1]


def _reason(output: str) -> str:
    """The last thing that gpg said to people."""
    lines = [line.removeprefix("gpg: ") for line in output.splitlines() if line.startswith("gpg: ")]
    return lines[-1] if lines else "it gave no reason"
