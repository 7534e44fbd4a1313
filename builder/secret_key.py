"""Whether GnuPG can sign with a key, found out before hours of building.

Standard library only: configure.py uses it before anything is installed.
"""

from __future__ import annotations

import socket
import time
from pathlib import Path

from builder import process
from builder.errors import UserError

_UNUSABLE = {"e": "has expired", "r": "is revoked", "d": "is disabled", "i": "is invalid"}
# Positions in a line of `gpg --with-colons` (GnuPG's doc/DETAILS, "Description of the fields").
_VALIDITY, _EXPIRES, _ID, _CAPABILITIES, _TOKEN = 1, 6, 9, 11, 14


def check(fingerprint: str, home: str) -> None:
    """See that the secret key with this full fingerprint is in a GnuPG home ("" for the user's own) and can sign.

    Raises `UserError` that says why not. No agent is left running that was not there before.
    """
    where = f"in {home}" if home else "in the user's GnuPG home"
    homedir = ["--homedir", home] if home else []
    had_agent = _agent_runs(homedir)
    try:
        listing = process.run(["gpg", *homedir, "--batch", "--with-colons", "--list-secret-keys", fingerprint])
    except process.CommandError as error:
        raise UserError(
            f"signing key {fingerprint}: no secret key {where}", hint="see --with-signing-key and --with-gnupg-home"
        ) from error
    finally:
        if not had_agent:
            process.run(["gpgconf", *homedir, "--kill", "gpg-agent"], check=False)
    problem = problem_of(listing, fingerprint, int(time.time()))
    if problem:
        raise UserError(f"signing key {fingerprint} {where} {problem}", hint="choose another with --with-signing-key")


def problem_of(listing: str, fingerprint: str, now: int) -> str:
    """Why the key of a `gpg --with-colons --list-secret-keys` listing cannot sign; empty where it can.

    `now` is in seconds since 1970. The key is the primary one or a subkey, by its full fingerprint.
    """
    primary: list[str] = []
    key: list[str] = []
    for line in listing.splitlines():
        fields = [*line.split(":"), *[""] * 20]
        if fields[0] in ("sec", "ssb"):
            key = fields
            primary = fields if fields[0] == "sec" else primary
        elif fields[0] == "fpr" and fields[_ID] == fingerprint:
            return _problem(primary, now) or _problem(key, now) or _cannot_sign(primary, key)
    return "is not the full fingerprint of a secret key"


def _problem(key: list[str], now: int) -> str:
    if key[_VALIDITY][:1] in _UNUSABLE:
        return _UNUSABLE[key[_VALIDITY][0]]
    if key[_EXPIRES].isdigit() and int(key[_EXPIRES]) <= now:
        return _UNUSABLE["e"]
    return ""


def _cannot_sign(primary: list[str], key: list[str]) -> str:
    # Upper case letters on the primary key tell what the key as a whole, with its subkeys, can do.
    capable = "S" in key[_CAPABILITIES] if key is primary else "s" in key[_CAPABILITIES]
    if not capable:
        return "is not made for signing"
    return "has no secret part here" if key[_TOKEN] == "#" and key is not primary else ""


def _agent_runs(homedir: list[str]) -> bool:
    path = process.run(["gpgconf", *homedir, "--list-dirs", "agent-socket"]).strip()
    if not Path(path).is_socket():
        return False
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
        except OSError:
            return False
    return True
