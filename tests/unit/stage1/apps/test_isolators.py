from typing import Any

import pytest

from stage1.apps.isolators import isolator_settings
from stage1.host.errors import UserError
from stage1.pod.pod import App

DEFAULT = (
    "CAP_AUDIT_WRITE CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_KILL CAP_MKNOD CAP_NET_BIND_SERVICE "
    "CAP_NET_RAW CAP_SETFCAP CAP_SETGID CAP_SETPCAP CAP_SETUID CAP_SYS_CHROOT"
)


def app(isolators: dict[str, Any]) -> App:
    return App("web", "", ("/web",), "0", "0", (), "/", {}, isolators)


def settings(isolators: dict[str, Any], uid: int = 0, *, restricted: bool = True) -> dict[str, str]:
    found = isolator_settings(app(isolators), uid, capabilities=restricted, seccomp=restricted)
    assert len(dict(found)) == len(found)
    return dict(found)


def capabilities(kind: str, *names: str) -> dict[str, Any]:
    return {f"os/linux/capabilities-{kind}-set": {"set": list(names)}}


def seccomp(kind: str, *names: str, errno: str = "") -> dict[str, Any]:
    return {f"os/linux/seccomp-{kind}-set": {"set": list(names), "errno": errno}}


def test_fourteen_capabilities_by_default() -> None:
    assert settings({})["CapabilityBoundingSet"] == DEFAULT
    assert len(DEFAULT.split()) == 14


def test_retained_capabilities_are_all() -> None:
    found = settings(capabilities("retain", "CAP_SYS_ADMIN", "CAP_CHOWN"))
    assert found["CapabilityBoundingSet"] == "CAP_CHOWN CAP_SYS_ADMIN"
    assert settings(capabilities("retain"))["CapabilityBoundingSet"] == ""


def test_removed_capabilities_are_missing_from_the_default() -> None:
    found = settings(capabilities("remove", "CAP_NET_RAW", "CAP_SYS_ADMIN"))
    assert found["CapabilityBoundingSet"].split() == [name for name in DEFAULT.split() if name != "CAP_NET_RAW"]


def test_restrictions_can_be_turned_off() -> None:
    everything = capabilities("retain", "CAP_CHOWN") | seccomp("retain", "read")
    assert settings(everything, 1000, restricted=False) == {}


@pytest.mark.parametrize(
    ("isolators", "text"),
    [
        (capabilities("retain", "CAP_CHOWN") | capabilities("remove", "CAP_CHOWN"), "exclude each other"),
        (capabilities("retain", "cap_chown"), "is not a name of a capability"),
        (capabilities("remove", "CAP_X\nExecStart=/bin/sh"), "is not a name of a capability"),
        (capabilities("remove", "~CAP_CHOWN"), "is not a name of a capability"),
        ({"os/linux/capabilities-retain-set": None}, "a JSON object is expected"),
        ({"os/linux/capabilities-retain-set": {"set": "CAP_CHOWN"}}, "must be a JSON array"),
        (seccomp("retain", "read") | seccomp("remove", "read"), "exclude each other"),
        (seccomp("retain", "read write"), "neither a system call"),
        (seccomp("remove", "~read"), "neither a system call"),
        (seccomp("remove", "@rkt/other"), "neither a system call"),
        (seccomp("remove", "read", errno="EPERM\nUser=0"), "errno"),
        (seccomp("remove", "@appc.io/all"), "cannot start without any system call"),
        (seccomp("remove", "@docker/default-whitelist"), "cannot start without any system call"),
        (seccomp("retain", "@docker/default-whitelist", "@systemd/clock"), "cannot be combined"),
        ({"os/linux/no-new-privileges": "yes"}, "true or false"),
        ({"os/linux/cpu-shares": "1024"}, "is not a number of 2 to"),
        ({"os/linux/cpu-shares": 1 << 70}, "is not a number of 2 to"),
        ({"os/linux/cpu-shares": True}, "is not a number of 2 to"),
        ({"os/linux/oom-score-adj": 1001}, "is not a number of -1000 to 1000"),
        ({"resource/memory": {"limit": "0"}}, "leaves nothing to run with"),
        ({"resource/cpu": {"limit": "0"}}, "leaves nothing to run with"),
    ],
)
def test_bad_isolators(isolators: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        settings(isolators)
    assert "app web" in str(caught.value)


def test_privileges_cannot_be_gained_where_an_app_says_so() -> None:
    assert "NoNewPrivileges" not in settings({})
    assert settings({"os/linux/no-new-privileges": True})["NoNewPrivileges"] == "yes"
    assert "NoNewPrivileges" not in settings({"os/linux/no-new-privileges": False})


def test_filtered_calls_of_an_unprivileged_app_need_it() -> None:
    assert settings({}, 1000)["NoNewPrivileges"] == "yes"
    assert "NoNewPrivileges" not in settings(seccomp("retain", "@appc.io/all"), 1000)


@pytest.mark.parametrize(
    "isolators", [{}, seccomp("remove", "@appc.io/empty"), seccomp("retain", "@rkt/default-whitelist")]
)
def test_dangerous_calls_are_removed_by_default(isolators: dict[str, Any]) -> None:
    found = settings(isolators)["SystemCallFilter"]
    assert found.startswith("~")
    calls = set(found[1:].split())
    assert {"mount", "ptrace", "kexec_load", "init_module", "setns", "bpf"} <= calls
    assert not {"read", "clone", "chroot", "execve", "socket"} & calls
    assert "SystemCallErrorNumber" not in settings(isolators)


@pytest.mark.parametrize(
    ("isolators", "filter_"),
    [
        (seccomp("retain", "write", "read"), "read write"),
        (seccomp("retain", "@appc.io/empty"), "@default"),
        (seccomp("retain", "@systemd/network-io", "@systemd/default-whitelist"), "@default @network-io"),
        (seccomp("remove", "socket", "chmod"), "~chmod socket"),
        (seccomp("remove", "@systemd/mount"), "~@mount"),
    ],
)
def test_chosen_calls(isolators: dict[str, Any], filter_: str) -> None:
    assert settings(isolators)["SystemCallFilter"] == filter_


def test_sets_and_calls_add_up() -> None:
    default = set(settings({})["SystemCallFilter"][1:].split())
    more = settings(seccomp("remove", "@docker/default-blacklist", "chmod"))["SystemCallFilter"]
    assert set(more[1:].split()) == default | {"chmod"}
    fewer = settings(seccomp("retain", "@docker/default-whitelist", "mount", "read"))["SystemCallFilter"]
    assert set(fewer[1:].split()) == default - {"mount"}


def test_all_calls() -> None:
    assert "SystemCallFilter" not in settings(seccomp("retain", "@appc.io/all", "read"))


def test_the_answer_to_a_forbidden_call() -> None:
    found = settings(seccomp("remove", "@rkt/default-blacklist", errno="ENOSYS"))
    assert found["SystemCallErrorNumber"] == "ENOSYS"


def test_resources() -> None:
    found = settings(
        {
            "resource/memory": {"limit": "64Mi"},
            "resource/cpu": {"limit": "1250m"},
            "os/linux/cpu-shares": 512,
            "os/linux/oom-score-adj": -5,
        }
    )
    assert (found["MemoryMax"], found["CPUQuota"]) == (str(64 << 20), "125.0%")
    assert (found["CPUWeight"], found["OOMScoreAdjust"]) == ("50", "-5")


@pytest.mark.parametrize(("shares", "weight"), [(2, "1"), (1024, "100"), (1 << 18, "10000")])
def test_shares_become_weights(shares: int, weight: str) -> None:
    assert settings({"os/linux/cpu-shares": shares})["CPUWeight"] == weight
