"""The key that signs the images."""

from __future__ import annotations

import re
from pathlib import Path

from builder.configure.arguments import Arguments, Notes
from builder.model.config import Signer, SigningOptions
from common.errors import UserError

_FINGERPRINT = re.compile(r"[0-9A-F]{40}")


def resolve(arguments: Arguments, notes: Notes, *, other_use: bool) -> SigningOptions:
    """Decide who signs. `other_use`: the keys of the GnuPG home are of use without a signing key, too.

    Raises `UserError` for a fingerprint that is not a full one, and for files that are not there.
    """
    key = arguments["signing-key"].replace(" ", "").removeprefix("0x").upper()
    signer = {"": Signer.DEVELOPMENT, "NONE": Signer.NONE}.get(key, Signer.NAMED)
    named = signer is Signer.NAMED
    if named and not _FINGERPRINT.fullmatch(key):
        raise UserError(
            f"--with-signing-key is not a full fingerprint: {arguments['signing-key']}",
            hint="write the 40 digits that `gpg --list-secret-keys` prints, or none",
        )
    home = ""
    if named or other_use:
        home = arguments["gnupg-home"] or arguments.variables.get("GNUPGHOME", "")
    else:
        notes.ignore(arguments, "gnupg-home", "nothing is taken from it without --with-signing-key=FINGERPRINT")
    if home and not Path(home).is_dir():
        raise UserError(f"GnuPG home {home} is not a directory", hint="see --with-gnupg-home")
    if not named:
        notes.ignore(arguments, "passphrase-file", "it belongs to --with-signing-key=FINGERPRINT")
    return SigningOptions(
        signer=signer,
        fingerprint=key if named else None,
        gnupg_home=Path(home) if home else None,
        passphrase_file=_passphrase_file(arguments, notes) if named else None,
    )


def _passphrase_file(arguments: Arguments, notes: Notes) -> Path | None:
    name = arguments["passphrase-file"]
    if not name:
        return None
    if not Path(name).is_file():
        raise UserError(f"passphrase file {name} does not exist", hint="see --with-passphrase-file")
    if Path(name).stat().st_mode & 0o077:
        notes.warnings.append(f"passphrase file {name} can be read by others: chmod 600 mends that")
    return Path(name)
