"""How a program of click commands starts and ends: what fails is said in one line, and a defect keeps its traceback."""

from __future__ import annotations

import errno
import sys
from typing import NoReturn

import click

from common.errors import UserError

_INTERRUPTED = 130
_ENVIRONMENT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
"""What a person can mend, whichever file it befell."""


def run(command: click.Command, program: str, *, failure: int, usage: int) -> NoReturn:
    """Run a command line and exit: with what the command returns, `failure`, or `usage` where it is called wrongly."""
    status: int | None
    try:
        status = command.main(prog_name=program, standalone_mode=False)
    except UserError as error:
        status = _fail(error, program, failure)
    except click.Abort:
        status = _INTERRUPTED
    except click.ClickException as error:
        error.show()
        status = usage if isinstance(error, click.UsageError) else failure
    except OSError as error:
        if error.errno in _ENVIRONMENT_ERRORS:
            explained = UserError(f"{error.filename or 'writing'}: {error.strerror}")
            status = _fail(explained, program, failure)
        else:
            status = _defect(failure)
    except Exception:
        status = _defect(failure)
    sys.exit(status)


def _fail(error: UserError, program: str, status: int) -> int:
    print(error.render(program), file=sys.stderr)
    return status


def _defect(status: int) -> int:
    """Print the traceback of the exception that is being handled, as Python does where nobody handles it."""
    sys.excepthook(*sys.exc_info())
    return status
