"""The check of the signing key by configure, in the virtual environment: signing itself is in `builder.image.sign`."""

from __future__ import annotations

import json
from pathlib import Path

from builder.configure import venv
from common import process
from common.errors import UserError


def check(builddir: Path, fingerprint: str, home: Path | None) -> str:
    """See that the secret key is there and may sign; return its user ID.

    `home` is a GnuPG home, None for the user's own. Raises `UserError` that says why the key cannot be used.
    """
    folder = home or Path.home() / ".gnupg"
    answer = json.loads(process.run([venv.python(builddir), "-m", "builder.image.check_key", fingerprint, folder]))
    if "error" in answer:
        raise UserError(answer["error"], hint=answer["hint"])
    return str(answer["user_id"])
