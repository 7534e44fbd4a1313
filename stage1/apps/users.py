"""User and group of an app: from what its manifest says to numbers, and the guest's own entries for those numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from stage1.host.errors import UserError
from stage1.host.paths import AppRoot, Tree
from stage1.pod.manifest import NO_ID
from stage1.pod.pod import App

_DATABASE_SIZE = 4 << 20
_HIGHEST_ID = 0xFFFFFFFE
_GENERATED = "gen"


@dataclass(frozen=True)
class Identity:
    """The numbers that an app runs with."""

    uid: int
    gid: int
    supplementary_gids: tuple[int, ...]


def resolve(app: App, root: AppRoot) -> Identity:
    """Look up the app's user and group in its own image. Raises `UserError` where one does not exist there.

    Each is a number, a name in the image's etc/passwd or etc/group, or an absolute path whose owner is meant.
    """
    uid = _resolve(app, root, app.user, "user", "etc/passwd")
    try:
        gid = _resolve(app, root, app.group, "group", "etc/group")
    except UserError:
        if not app.group_follows_user:
            raise
        gid = uid
    return Identity(uid, gid, app.supplementary_gids)


def _resolve(app: App, root: AppRoot, text: str, kind: str, database: str) -> int:
    if text == "root":
        return 0
    if text.startswith("/"):
        try:
            status = root.stat(text)
        except OSError as error:
            raise UserError(f"app {app.name}: {kind} {text}: no such file in the image: {error.strerror}") from error
        number = str(status.st_uid if kind == "user" else status.st_gid)
    else:
        number = text if _is_number(text) else _look_up(app, root, text, kind, database)
    if len(number) > 10 or int(number) > _HIGHEST_ID or int(number) == NO_ID:
        raise UserError(f"app {app.name}: {kind} {text[:40]}: {number[:20]} is no possible ID")
    return int(number)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _look_up(app: App, root: AppRoot, text: str, kind: str, database: str) -> str:
    try:
        content = root.read(database, limit=_DATABASE_SIZE)
    except OSError as error:
        raise UserError(
            f"app {app.name}: {kind} {text!r}: cannot read {database} of the image: {error.strerror}"
        ) from error
    for line in content.decode(errors="replace").splitlines():
        fields = line.split(":")
        if fields[0] == text and len(fields) > 2 and _is_number(fields[2]):
            return fields[2]
    raise UserError(f"app {app.name}: {kind} {text!r} is not in {database} of the image")


def add_to_guest(image: Tree, identities: Iterable[Identity]) -> None:
    """Give every number an entry in the guest's etc/passwd or etc/group: systemd refuses a number without one.

    Entries of an earlier start are replaced. Raises `UserError` where the image's own files cannot be read.
    """
    uids = {identity.uid for identity in identities}
    gids = {gid for identity in identities for gid in (identity.gid, *identity.supplementary_gids)}
    _rewrite(image, "etc/passwd", {uid: f"{_GENERATED}{uid}:x:{uid}:65534::/:/bin/sh" for uid in uids})
    _rewrite(image, "etc/group", {gid: f"{_GENERATED}{gid}:x:{gid}:" for gid in gids})


def _rewrite(image: Tree, name: str, entries: dict[int, str]) -> None:
    try:
        content = image.read(name, limit=_DATABASE_SIZE).decode(errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {image.describe(name)}: {error.strerror}") from error
    kept = [line for line in content.splitlines() if line and not line.startswith(_GENERATED)]
    known = {line.split(":")[2] for line in kept if line.count(":") >= 2}
    added = [entry for number, entry in sorted(entries.items()) if str(number) not in known]
    image.write(name, "\n".join([*kept, *added]) + "\n")
