"""User namespaces that the host does not permit, and processes that enter some."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import UserError
from stage0.pods import namespaces
from stage0.pods.mounts import mount, mounted_below
from stage0.pods.namespaces import ChildDefect, call_in_child


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


def raised(error: BaseException) -> Callable[[], int]:
    def fail() -> int:
        raise error

    return fail


def killed() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_what_a_child_meets_is_the_parents(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"^cannot\nbe$") as wrong:
        call_in_child(raised(UserError("cannot\nbe", hint="try \u00e9")))
    assert wrong.value.hint == "try \u00e9"
    with pytest.raises(PermissionError) as refusal:
        call_in_child(raised(OSError(errno.EACCES, "no", os.fsdecode(b"/\xff"))))
    assert (refusal.value.errno, refusal.value.filename) == (errno.EACCES, os.fsdecode(b"/\xff"))
    with pytest.raises(UserError, match="signal 9"):
        call_in_child(killed)
    for error in (ZeroDivisionError("defect"), SystemExit(0), KeyboardInterrupt()):
        with pytest.raises(ChildDefect, match=rf"Traceback[^$]*in fail\n[^$]*{type(error).__name__}"):
            call_in_child(raised(error))
    assert call_in_child(lambda: 7) == 7
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_what_is_mounted_in_private_is_seen_by_nobody_else(tmp_path: Path) -> None:
    def work() -> int:
        namespaces.enter_private()
        mount("tmpfs", tmp_path, "tmpfs")
        (tmp_path / "inside").touch()
        return len(mounted_below(tmp_path))

    assert call_in_child(work) == 1
    assert (mounted_below(tmp_path), list(tmp_path.iterdir())) == ([], [])
