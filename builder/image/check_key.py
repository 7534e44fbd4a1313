"""Says whether a secret key is there and may sign: `python -m builder.image.check_key FINGERPRINT HOME`.

configure asks this in the virtual environment, which has what it is said with.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from builder.image.sign import named_key
from common.errors import UserError


def main() -> None:
    """Print `{"user_id": ...}`, or `{"error": ..., "hint": ...}` where the key cannot be used."""
    fingerprint, home = sys.argv[1:]
    try:
        answer = {"user_id": named_key(Path(home), fingerprint).user_id}
    except UserError as error:
        answer = {"error": str(error), "hint": error.hint}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
