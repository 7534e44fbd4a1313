"""OpenPGP by GnuPG: homes that leave nothing behind, and signatures checked against full fingerprints."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from common.errors import UserError
from common.process import run

if TYPE_CHECKING:
    import gnupg

_LONGEST_SOCKET_NAME = len("/S.gpg-agent.browser")
_SUN_PATH = 106
"""Bytes that GnuPG allows in the path of a Unix socket, one less than unix(7): 108 with the closing NUL."""

ACCEPTED_DIGESTS = MappingProxyType({"8": "SHA-256", "9": "SHA-384", "10": "SHA-512", "11": "SHA-224"})
"""What a signature may be made over, by the numbers of RFC 4880, 9.4. Any other digest is refused."""
_OTHER_DIGESTS = MappingProxyType({"1": "MD5", "2": "SHA-1", "3": "RIPEMD-160"})
_UNKNOWN_KEY = "9"
"""GPG_ERR_NO_PUBKEY, as the reason of ERRSIG."""

_FINGERPRINT = re.compile(r"[0-9A-F]{40}")
_STATUS = re.compile(r"^\[GNUPG:\] (\S+) ?(.*)$", re.MULTILINE)
_REFUSALS = {
    "BADSIG": "the signature does not fit the file",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the signing key has expired",
    "REVKEYSIG": "the signing key was revoked",
}


class UnknownSignerError(UserError):
    """A signature by a key that is not among those which are trusted."""


class WeakDigestError(UserError):
    """A signature over a digest for which other content can be made that has the same one."""


@dataclass(frozen=True)
class PublicKey:
    """A key that was imported."""

    fingerprint: str
    """Of the primary key, 40 upper-case hex digits."""
    user_id: str
    """Fit for a terminal: what cannot be printed, and bytes that are not UTF-8, are escapes."""


@contextmanager
def throwaway_home() -> Iterator[Path]:
    """A GnuPG home in the directory for temporary files, mode 0700. No file and no process of it remains."""
    with tempfile.TemporaryDirectory(prefix="gpg-", dir=_short_temporary_directory()) as name:
        home = Path(name)
        try:
            yield home
        finally:
            stop_agent(home)


@contextmanager
def reachable_home(home: Path) -> Iterator[Path]:
    """A path of `home` that is short enough for the sockets of its agent: itself, or a temporary symlink."""
    if len(os.fsencode(home)) + _LONGEST_SOCKET_NAME <= _SUN_PATH:
        yield home
        return
    with tempfile.TemporaryDirectory(prefix="gpg-", dir=_short_temporary_directory()) as name:
        link = Path(name, "home")
        link.symlink_to(home.absolute())
        yield link


def _short_temporary_directory() -> str:
    """TMPDIR may itself be too long for sockets."""
    chosen = tempfile.gettempdir()
    room = _SUN_PATH - _LONGEST_SOCKET_NAME - len("/gpg-12345678/home")
    return chosen if len(os.fsencode(chosen)) <= room else "/tmp"


@contextmanager
def borrowed_home(home: Path) -> Iterator[Path]:
    """Use the secret keys of `home`, one process at a time, and leave its agent as it was: running or not.

    Yields a path for `--homedir`. An agent that was started meanwhile is ended, for nothing else would. Raises
    `UserError` where the home cannot be opened.
    """
    with ExitStack() as stack:
        try:
            lock = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"GnuPG home {home}: {error.strerror}") from error
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        reachable = stack.enter_context(reachable_home(home))
        if not _agent_runs(reachable):
            stack.callback(stop_agent, reachable)
        yield reachable


def _agent_runs(home: Path) -> bool:
    output = run(["gpg-connect-agent", "--homedir", home, "--no-autostart", "GETINFO pid", "/bye"], check=False)
    return any(line.startswith("D ") for line in output.splitlines())


def stop_agent(home: Path) -> None:
    """End the agent of `home` and its siblings, where there are any."""
    run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


def open_gpg(home: Path, options: Sequence[str] = ()) -> gnupg.GPG:
    """python-gnupg on `home`. The programs of GnuPG see the environment of the caller: an agent may need its terminal.

    Raises `UserError` where gpg cannot be started.
    """
    from common.gpg_output import TolerantGPG  # here, because a `make` with nothing to do does not sign

    try:
        return TolerantGPG(
            gnupghome=os.fspath(home),
            options=list(options),
            env=dict(os.environ) | {"LC_ALL": "C.UTF-8"},
            encoding="utf-8",
        )
    except (OSError, ValueError) as error:
        raise UserError(f"gpg cannot be used: {error}", hint="install gnupg") from error


def import_keys(home: Path, files: Sequence[Path]) -> tuple[PublicKey, ...]:
    """Import public keys, armored or binary, into `home` and return all that it then holds.

    Raises `UserError` where a file cannot be read or has no key.
    """
    gpg = open_gpg(home, ["--trust-model", "always", "--no-autostart"])
    for file in files:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise UserError(f"{file}: cannot read the public key: {error.strerror}") from error
        if not gpg.import_keys(data).fingerprints:
            raise UserError(f"{file}: there is no OpenPGP public key in it")
    return tuple(PublicKey(key["fingerprint"], next(iter(key["uids"]), "")) for key in gpg.list_keys())


def verify_detached(data: Path, signature: Path, keys: Path | Sequence[Path], fingerprints: Collection[str]) -> str:
    """Check as `find_signer` does and return the fingerprint of the primary key that signed."""
    return find_signer(data, signature, keys, fingerprints).fingerprint


def find_signer(
    data: Path,
    signature: Path,
    keys: Path | Sequence[Path],
    fingerprints: Collection[str] | None = None,
    *,
    where: str = "",
) -> PublicKey:
    """Check a detached signature, armored or binary, against the public keys in `keys` and nothing else.

    `fingerprints` names the primary keys that are trusted, in full (40 hex digits); by default every key in `keys`
    is. Returns the key that signed. Raises `UserError`, one line that begins with `where`, for anything but a good
    signature over one of `ACCEPTED_DIGESTS` by a trusted key that is neither expired nor revoked.
    """
    files = [keys] if isinstance(keys, Path) else list(keys)
    for file in (data, signature):
        if not file.is_file():
            raise UserError(f"{file} does not exist")
    with throwaway_home() as home:
        known = import_keys(home, files)
        trusted = (
            {full_fingerprint(item) for item in fingerprints}
            if fingerprints is not None
            else {key.fingerprint for key in known}
        )
        gpg = open_gpg(home, ["--trust-model", "always", "--no-auto-key-retrieve", "--no-autostart"])
        with signature.open("rb") as stream:
            result = gpg.verify_file(stream, os.fspath(data.absolute()))
        fingerprint = _good_signer(
            str(result.stderr), trusted, where or f"{signature}: no good signature of {data.name}"
        )
    return next(key for key in known if key.fingerprint == fingerprint)


def read_clearsigned(document: Path, keys: Sequence[Path], fingerprints: Collection[str]) -> str:
    """The text of a clear-signed document, without anything around it, after the check that `find_signer` makes."""
    trusted = {full_fingerprint(item) for item in fingerprints}
    with throwaway_home() as home:
        import_keys(home, keys)
        gpg = open_gpg(home, ["--trust-model", "always", "--no-auto-key-retrieve", "--no-autostart"])
        with document.open("rb") as stream:
            result = gpg.decrypt_file(stream)
        _good_signer(str(result.stderr), trusted, f"{document}: no good signature")
        return str(result)


def full_fingerprint(text: str) -> str:
    """Normalise a fingerprint as people write it. Raises `UserError` for anything shorter than 40 hex digits."""
    plain = text.replace(" ", "").removeprefix("0x").upper()
    if not _FINGERPRINT.fullmatch(plain):
        raise UserError(
            f"{text!r} is not a full fingerprint", hint="give all 40 hex digits: gpg --list-keys --with-colons"
        )
    return plain


def _good_signer(output: str, trusted: Collection[str], where: str) -> str:
    """The trusted primary key of a good signature in what `gpg --status-fd` printed.

    gpg's exit status and its summary do not say *whose* good signature it is; only VALIDSIG names the key in full:
    its last field is the fingerprint of the primary key, and the eighth one the digest. A file may hold several
    signatures, each after NEWSIG.
    """
    good = False
    strangers: list[str] = []
    faults: list[str] = []
    digests: list[str] = []
    for keyword, rest in _STATUS.findall(output):
        fields = rest.split()
        if keyword in ("NEWSIG", "GOODSIG"):
            good = keyword == "GOODSIG"
        elif keyword == "VALIDSIG" and good:
            if fields[-1] not in trusted:
                strangers.append(f"it was made by {fields[-1]}, which is not the expected key")
            elif fields[7] in ACCEPTED_DIGESTS:
                return str(fields[-1])
            else:
                digests.append(fields[7])
        elif keyword == "ERRSIG" and fields[5] == _UNKNOWN_KEY:
            strangers.append(f"it was made by an unknown key, {fields[-1] if len(fields) > 6 else fields[0]}")
        elif keyword == "ERRSIG" and fields[2] not in ACCEPTED_DIGESTS:
            digests.append(fields[2])
        elif keyword == "ERRSIG":
            faults.append(f"it cannot be checked, algorithm {fields[1]}, reason {fields[5]}")
        elif keyword in _REFUSALS:
            faults.append(f"{_REFUSALS[keyword]} ({rest})")
    if digests:
        name = _OTHER_DIGESTS.get(digests[0], f"digest {digests[0]}")
        raise WeakDigestError(
            f"{where}: the signature is over {name}, which is not accepted",
            hint=f"a new signature is needed, over {', '.join(ACCEPTED_DIGESTS.values())}: gpg --digest-algo SHA512",
        )
    if strangers and not faults:
        raise UnknownSignerError(f"{where}: {strangers[0]}")
    raise UserError(f"{where}: {faults[0] if faults else 'the file holds no OpenPGP signature'}")
