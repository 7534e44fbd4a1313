"""Questions to git about a checkout, whose answers no person's settings change."""

from __future__ import annotations

from pathlib import Path

from common import process

_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
}


def ask(checkout: Path, *words: str, check: bool = True) -> str:
    """What `git WORDS` prints in a checkout on standard output, and nothing of what it warns of.

    The person named the checkout, whose owner may be another user, as in a container. Raises `CommandError`.
    """
    # The checkout's own configuration holds; a monitor of its files would be a program that it starts.
    options = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-c", "log.showSignature=false")
    return process.answer(["git", *options, "-C", checkout, *words], env=_ENVIRONMENT, check=check)


def changed_paths(checkout: Path, *, submodules: bool = True) -> tuple[str, ...]:
    """The paths that are not as they were committed, relative to the top of the checkout; new ones are among them.

    Without `submodules` theirs do not count. Raises `CommandError`.
    """
    ignored = f"--ignore-submodules={'none' if submodules else 'all'}"
    answer = ask(checkout, "status", "--porcelain", "-z", ignored, "--untracked-files=normal")
    entries = iter(answer.split("\0"))
    paths = []
    for entry in entries:
        if not entry:
            continue
        paths.append(entry[3:])
        if entry[0] in "RC":
            next(entries, None)  # the name before a rename or copy
    return tuple(paths)
