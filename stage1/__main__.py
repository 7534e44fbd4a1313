"""Entry point of the launcher: `stage1 run FRONT-PID|gc|stop|enter|attach [flags] [UUID]`.

In the guest: `stage1 agent`, and `stage1 streams APP ENDPOINT...`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from stage1.host.errors import EXIT_FAILURE, UserError, report


def dispatch(action: str, words: Sequence[str]) -> int:
    """Do what one of the entry points stands for; the exit status. Raises `UserError`.

    Each imports only what it needs: reading the modules is most of what a short action costs.
    """
    if action == "run":
        from stage1.commands.run import run

        run(int(words[0]), words[1:], os.environ)
    elif action == "gc":
        from stage1.commands.gc import gc

        gc(words)
    elif action == "stop":
        from stage1.commands.stop import stop

        stop(words)
    elif action == "enter":
        from stage1.commands.enter import enter

        return enter(words)
    elif action == "attach":
        from stage1.commands.attach import attach

        return attach(words)
    elif action == "agent":
        from stage1.channel.agent import serve

        serve(0)
    elif action == "streams":
        from stage1.attach.mux import serve as serve_streams

        serve_streams(words[0], words[1:])
    else:
        raise UserError(f"{action}: this image cannot do that")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Run an action; the exit status is 254 for every failure, also for those that keep their traceback."""
    try:
        return dispatch(arguments[0], arguments[1:])
    except UserError as error:
        report("error", str(error))
        return EXIT_FAILURE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception:
        sys.excepthook(*sys.exc_info())
        return EXIT_FAILURE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
