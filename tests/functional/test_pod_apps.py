"""Further settings of apps: programs, owners and sets of names. One run serves all tests."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests.functional.support.console import app_lines
from tests.functional.support.images import Image
from tests.functional.support.pods import App, PodMaker

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")

SELF = ("cat", "/proc/self/status")
PLAIN_FOLDER, FOLDER = "wörk %n $HOME", "quotes '\" and back\\slash"
"""systemd refuses quotes and backslashes in the path of a program, and takes them elsewhere."""
LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}
FOURTEEN, MKNOD, NET_RAW = 0xA80425FB, 1 << 27, 1 << 13

Lines = Mapping[str, Sequence[str]]


def app(name: str, *commands: str, retain: Sequence[str] = (), remove: Sequence[str] = (), errno: str = "") -> App:
    """An app with a filter of system calls."""
    kind, names = ("retain", retain) if retain else ("remove", remove)
    isolators = {f"os/linux/seccomp-{kind}-set": {"set": list(names)} | ({"errno": errno} if errno else {})}
    capabilities = {"os/linux/capabilities-retain-set": {"set": ["CAP_SYS_ADMIN"]}}
    return App(name, ("/bin/probe", *SELF, *commands), memory="16Mi", isolators=isolators | capabilities)


@pytest.fixture(scope="module")
def lines(image: Image, module_pod_of: PodMaker) -> Iterator[Lines]:
    """What each app has printed."""
    links = [word for name in (*LINKS, "log", "pts", "console", "net/tun") for word in ("show", f"/dev/{name}")]
    apps = [
        App("linked", ("tool", "say", "found by a link"), environment={"PATH": "/nowhere:/tools"}, memory="16Mi"),
        App("relative", ("./bin/tool", "cwd"), working_directory=f"/srv/{PLAIN_FOLDER}", memory="16Mi"),
        App("folder", ("/bin/probe", "cwd"), working_directory=f"/srv/{FOLDER}", memory="16Mi"),
        App("owner", ("/bin/probe", "ids"), user="/etc/owner", group="/etc/owner", memory="16Mi"),
        App(
            "removed",
            ("/bin/probe", *SELF, *links),
            isolators={"os/linux/capabilities-remove-set": {"set": ["CAP_MKNOD", "CAP_NET_RAW"]}},
            memory="16Mi",
        ),
        app("everything", "unshare", retain=["@appc.io/all"]),
        app("more", "unshare", retain=["@docker/default-whitelist", "unshare"]),
        app("less", "unshare", remove=["@rkt/default-blacklist"], errno="EXDEV"),
        app("group", "unshare", remove=["@systemd/mount", "unshare"], errno="EBADF"),
        app("default", remove=["@appc.io/empty"]),
    ]
    with module_pod_of(image, apps) as pod:
        # Absolute in the app's root, where it is; outside there is no such folder.
        tools = pod.app_file("linked", "usr/apps tools")
        tools.mkdir(parents=True)
        pod.app_file("linked", "tools").symlink_to("/usr/apps tools")
        (tools / "tool").symlink_to("../../../../bin/probe")
        pod.app_file("folder", f"srv/{FOLDER}").mkdir()
        folder = pod.app_file("relative", f"srv/{PLAIN_FOLDER}/bin")
        folder.mkdir(parents=True)
        (folder / "tool").symlink_to("/bin/probe")
        owner = pod.app_file("owner", "etc/owner")
        owner.touch()
        os.chown(owner, 2345, 3456)
        outcome = pod.run()
        assert outcome.status == 0, outcome
        yield {app.name: app_lines(outcome.lines(), app.name) for app in apps}


def status(lines: Sequence[str], key: str) -> str:
    """A value of /proc/self/status."""
    (value,) = [match[1] for line in lines if (match := re.fullmatch(rf"line \[{key}:\\x09(.*)\]", line))]
    return value


def test_a_program_behind_links(lines: Lines) -> None:
    assert lines["linked"] == ["found by a link"]


def test_a_program_relative_to_a_folder_with_every_character(lines: Lines) -> None:
    assert lines["relative"] == [f"cwd /srv/{PLAIN_FOLDER}"]
    assert lines["folder"] == [f"cwd /srv/{FOLDER}"]


def test_user_and_group_by_file(lines: Lines) -> None:
    assert lines["owner"] == ["uid 2345 gid 3456"]


def test_removed_capabilities(lines: Lines) -> None:
    assert int(status(lines["removed"], "CapBnd"), 16) == FOURTEEN & ~MKNOD & ~NET_RAW


@pytest.mark.parametrize("name", [*LINKS, "log"])
def test_links_of_dev(lines: Lines, name: str) -> None:
    assert f"show /dev/{name} l 0777 0 0" in lines["removed"]


def test_what_else_is_in_dev(lines: Lines) -> None:
    kinds = {line.split()[1]: line.split()[2] for line in lines["removed"] if line.startswith("show")}
    assert [kinds[f"/dev/{name}"] for name in ("pts", "console", "net/tun")] == ["d", "c", "c"]


@pytest.mark.parametrize(
    ("name", "filtered", "result"),
    [
        # A container has a filter of its own.
        pytest.param("everything", "0", "ok", marks=pytest.mark.machine),
        ("more", "2", "ok"),
        ("less", "2", "Invalid cross-device link"),
        ("group", "2", "Bad file descriptor"),
    ],
)
def test_sets_of_system_calls(lines: Lines, name: str, filtered: str, result: str) -> None:
    assert status(lines[name], "Seccomp") == filtered
    assert f"unshare {result}" in lines[name]


def test_nothing_to_remove_is_the_default(lines: Lines) -> None:
    assert status(lines["default"], "Seccomp") == "2"


@pytest.mark.checked_on("container")
def test_programs_without_their_loader_or_interpreter(image: Image, pod_of: PodMaker) -> None:
    """The start says what is missing, before the virtual machine says that there is no such file."""
    apps = [App("dynamic", ("/bin/dynamic",), memory="16Mi"), App("script", ("/bin/script",), memory="16Mi")]
    with pod_of(image, apps) as pod:
        shutil.copy("/bin/true", pod.app_file("dynamic", "bin/dynamic"))
        script = pod.app_file("script", "bin/script")
        script.write_text("#! /usr/bin/missing -x\n")
        script.chmod(0o755)
        outcome = pod.run()
        warnings = [line for line in outcome.stderr.splitlines() if " needs " in line]
        assert [line.split(": ", 2)[2] for line in warnings] == [
            "app dynamic: /bin/dynamic needs /lib64/ld-linux-x86-64.so.2, which its image does not have",
            "app script: /bin/script needs /usr/bin/missing, which its image does not have",
        ]
        assert outcome.status == 203, "EXIT_EXEC of systemd.exec(5)"
        assert "203" in (pod.status("dynamic"), pod.status("script"))


@pytest.mark.checked_on("container")
def test_a_handler_before_the_start_that_fails(image: Image, pod_of: PodMaker) -> None:
    handlers = [
        {"name": "pre-start", "exec": ["/bin/probe", "say", "not today", "exit", "9"]},
        {"name": "post-stop", "exec": ["probe", "write", "/ended", "ended"]},
    ]
    refused = App(
        "refused", ("/bin/probe", "write", "/started", ""), settings={"eventHandlers": handlers}, memory="32Mi"
    )
    with pod_of(image, [refused]) as pod:
        outcome = pod.run()
        assert (outcome.status, pod.status("refused")) == (255, "255"), outcome
        assert pod.app_file("refused", "ended").read_text() == "ended"
        assert not pod.app_file("refused", "started").exists()
        printed = app_lines(outcome.lines(), "refused")
        assert "not today" in printed
        assert any("a pre-start handler failed" in line for line in printed), outcome
