"""The absolute path, inside an app's root, of the program that the app names."""

from __future__ import annotations

import posixpath
import stat

from stage1.host.errors import UserError
from stage1.host.paths import PATH_SIZE, AppRoot
from stage1.pod.pod import App

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def find_executable(app: App, root: AppRoot, program: str) -> str:
    """Find a program of an app as rkt does.

    An absolute path is taken as it is, one with a slash is relative to the working directory, and a bare name is
    searched in the PATH of the app, then in the working directory. Raises `UserError` where a bare name is not found,
    and for what cannot be a path of a program.
    """
    if "/" in program:
        path = posixpath.join("/", app.working_directory, program)
        if path.endswith("/") or len(path.encode()) > PATH_SIZE:
            raise UserError(f"app {app.name}: {program!r} names a directory, or is longer than a path can be")
        return path
    places = [*app.environment.get("PATH", DEFAULT_PATH).split(":"), app.working_directory]
    for place in places:
        candidate = posixpath.join("/", place, program)
        try:
            mode = root.stat(candidate).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode) and mode & 0o111:
            return candidate
    raise UserError(f"app {app.name}: {program!r} is not an executable file in its PATH ({':'.join(places)})")
