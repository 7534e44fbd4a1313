"""The check of the signing key by configure, in the virtual environment: signing itself is in `builder.image.sign`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from builder import venv
from common import process
from common.errors import UserError


def check(builddir: Path, fingerprint: str, home: str) -> str:
    """See that the secret key is there and may sign; return its user ID.

    `home` is a GnuPG home, empty for the user's own. Raises `UserError` that says why the key cannot be used.
    """
    folder = home or str(Path.home() / ".gnupg")
    answer = json.loads(process.run([venv.python(builddir), "-m", "builder.secret_key", fingerprint, folder]))
    if "error" in answer:
        raise UserError(answer["error"], hint=answer["hint"])
    return str(answer["user_id"])


def main() -> None:
    """Entry point of `python -m builder.secret_key FINGERPRINT HOME`. Prints what `check` reads."""
    from builder.image.sign import named_key

    fingerprint, home = sys.argv[1:]
    try:
        answer = {"user_id": named_key(Path(home), fingerprint).user_id}
    except UserError as error:
        answer = {"error": str(error), "hint": error.hint}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
