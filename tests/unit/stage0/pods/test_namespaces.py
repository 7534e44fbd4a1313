"""User namespaces that the host does not permit."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from common.errors import UserError
from stage0.pods import namespaces


def refused(flags: int) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


@pytest.mark.parametrize(
    ("settings", "command"),
    [
        ({"user/max_user_namespaces": "0", "kernel/unprivileged_userns_clone": "1"}, "user.max_user_namespaces=65536"),
        (
            {"user/max_user_namespaces": "9", "kernel/unprivileged_userns_clone": "0"},
            "kernel.unprivileged_userns_clone=1",
        ),
        ({"kernel/apparmor_restrict_unprivileged_userns": "1"}, "kernel.apparmor_restrict_unprivileged_userns=0"),
        ({}, "user.max_user_namespaces"),
    ],
)
def test_what_forbids_them_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], command: str
) -> None:
    for name, value in settings.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{value}\n")
    monkeypatch.setattr(namespaces, "SETTINGS", tmp_path)
    monkeypatch.setattr(namespaces, "_unshare", refused)
    with pytest.raises(UserError, match="cannot create a user namespace: Operation not permitted") as caught:
        namespaces.enter_own()
    assert caught.value.hint == f"run as root, or let users create user namespaces (sysctl {command})"
