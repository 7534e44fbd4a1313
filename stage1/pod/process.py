"""The process of the pod in the working directory, for entry points that others than the pod's own execute."""

from __future__ import annotations

import time

from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.lock import is_locked

_PID_SIZE = 32
_WAIT_SECONDS = 0.1


def pod_process() -> int:
    """The number of the pod's process, from the file `pid`.

    A pod that starts writes that file when all others are there; until then this waits, as rkt does. Raises
    `UserError` where the pod does not run, or the file says something else.
    """
    while True:
        if not is_locked("."):
            raise UserError("the pod does not run")
        try:
            pid = int(Tree(".").read("pid", limit=_PID_SIZE))
        except FileNotFoundError:
            time.sleep(_WAIT_SECONDS)
            continue
        except (OSError, ValueError) as error:
            raise UserError(f"the pod's process is not known: file pid: {error}") from error
        if pid <= 1:
            raise UserError(f"the pod's process is not known: file pid says {pid}")
        return pid
