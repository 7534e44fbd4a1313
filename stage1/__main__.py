"""Entry point of the launcher: `stage1 run FRONT-PID|gc|stop|enter [flags] [UUID]`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from stage1.errors import EXIT_FAILURE, UserError, report
from stage1.gc import gc
from stage1.run import run
from stage1.stop import stop


def dispatch(action: str, words: Sequence[str]) -> None:
    """Do what one of the entry points stands for. Raises `UserError`."""
    if action == "run":
        run(int(words[0]), words[1:], os.environ)
    elif action == "gc":
        gc(words)
    elif action == "stop":
        stop(words)
    else:
        raise UserError(f"{action}: this image cannot do that")


def main(arguments: Sequence[str]) -> int:
    """Run an action; the exit status is 254 for every failure, also for those that keep their traceback."""
    try:
        dispatch(arguments[0], arguments[1:])
    except UserError as error:
        report("error", str(error))
        return EXIT_FAILURE
    except Exception:
        sys.excepthook(*sys.exc_info())
        return EXIT_FAILURE
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
