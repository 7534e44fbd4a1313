import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage1.apps.units import (
    MARK,
    Programs,
    app_unit,
    default_target,
    environment_file,
    plain_value,
    quote_argument,
    quote_variable,
    socket_unit,
    stream_unit,
)
from stage1.apps.users import Identity
from stage1.host.errors import UserError
from stage1.pod.pod import App, Event, EventHandler, Stream, StreamMode
from stage1.pod.ports import Port

ROOT = Identity(0, 0, ())
TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))
APP = App(
    name="web-1",
    image="example.com/web",
    arguments=("web", "a b"),
    user="0",
    group="0",
    supplementary_gids=(),
    working_directory="/srv",
    environment={},
    isolators={},
)


def unquote_argument(quoted: str) -> str:
    """What systemd makes of a double-quoted word: C escapes, then specifiers."""
    assert quoted.startswith('"') and quoted.endswith('"')
    simple = {"\\": b"\\", '"': b'"', "n": b"\n", "t": b"\t", "r": b"\r"}
    content = b""
    position, body = 0, quoted[1:-1]
    while position < len(body):
        if body[position] != "\\":
            assert body[position] not in '"\n'
            content += body[position].encode()
            position += 1
        elif body[position + 1] == "x":
            content += bytes([int(body[position + 2 : position + 4], 16)])
            position += 4
        else:
            content += simple[body[position + 1]]
            position += 2
    text = content.decode()
    assert re.fullmatch(r"([^%]|%%)*", text, re.DOTALL)
    return text.replace("%%", "%")


def unquote_variable(line: str) -> tuple[str, str]:
    """What systemd makes of NAME="value" in an environment file."""
    name, _, rest = line.partition("=")
    assert rest.startswith('"') and rest.endswith('"\n')
    return name, re.sub(r'\\(["\\$`])', r"\1", rest[1:-2])


@given(TEXTS)
def test_arguments_survive_quoting(text: str) -> None:
    assert unquote_argument(quote_argument(text)) == text


@given(TEXTS)
def test_variables_survive_quoting(value: str) -> None:
    assert unquote_variable(quote_variable("NAME", value)) == ("NAME", value)


@given(TEXTS)
def test_no_text_adds_a_line_to_a_unit(text: str) -> None:
    app = dataclasses.replace(APP, image=text, arguments=("/web", text))
    assert app_unit(app, ROOT, Programs("/web", ()), [], interactive=False).count("\n") == len(
        app_unit(APP, ROOT, Programs("/web", ()), [], interactive=False).splitlines()
    )


def settings(unit: str) -> dict[str, str]:
    lines = (line.partition("=") for line in unit.splitlines() if "=" in line)
    return {key: value for key, _, value in lines}


def test_a_unit_of_root() -> None:
    unit = app_unit(APP, ROOT, Programs("/bin/web", ()), [], interactive=False)
    found = settings(unit)
    assert unit.startswith(MARK)
    assert found["ExecStart"] == ':"/bin/web" "a b"'
    assert found["RootDirectory"] == "/opt/stage2/web-1/rootfs"
    assert found["WorkingDirectory"] == "/srv"
    assert found["EnvironmentFile"] == "/rkt/env/web-1"
    assert found["OnSuccess"] == "app-exited@web-1.service"
    assert found["OnFailure"] == "app-failed@web-1.service"
    assert found["StandardOutput"] == "journal+console"
    assert found["Description"] == "Application=web-1 Image=example.com/web"
    assert "User" not in found and "Group" not in found and "SupplementaryGroups" not in found


def test_a_guest_without_a_journal() -> None:
    found = settings(app_unit(APP, ROOT, Programs("/bin/web", ()), [], interactive=False, journal=False))
    assert (found["Requires"], found["StandardOutput"], found["StandardError"]) == ("apps.target", "tty", "tty")


def test_a_unit_of_another_user() -> None:
    found = settings(app_unit(APP, Identity(0, 7, (8, 9)), Programs("/bin/web", ()), [], interactive=True))
    assert (found["User"], found["Group"], found["SupplementaryGroups"]) == ("0", "7", "8 9")
    assert found["StandardInput"] == found["StandardOutput"] == found["StandardError"] == "tty"


def test_systemd_adds_no_variable_that_the_app_does_not_set() -> None:
    app = dataclasses.replace(APP, environment={"LANG": "C"})
    assert "LANG" in settings(app_unit(APP, ROOT, Programs("/web", ()), [], interactive=False))["UnsetEnvironment"]
    assert "LANG" not in settings(app_unit(app, ROOT, Programs("/web", ()), [], interactive=False))["UnsetEnvironment"]


@pytest.mark.parametrize("executable", ['/a"b', "/a'b", "/a\\b", "/a\nb"])
def test_programs_that_systemd_cannot_execute(executable: str) -> None:
    with pytest.raises(UserError, match="app web-1: systemd cannot execute"):
        app_unit(APP, ROOT, Programs(executable, ()), [], interactive=False)


def test_lines_have_a_limit() -> None:
    app = dataclasses.replace(APP, arguments=("web", "x" * (1 << 20)))
    with pytest.raises(UserError, match="arguments are longer"):
        app_unit(app, ROOT, Programs("/web", ()), [], interactive=False)


def test_plain_values() -> None:
    assert plain_value("/a b/100%/ü", "app") == "/a b/100%%/ü"


@pytest.mark.parametrize("text", ["/a\nb", "/a ", " /a", "/a\\", "/a\x1b"])
def test_values_that_a_line_cannot_hold(text: str) -> None:
    with pytest.raises(UserError, match="app"):
        plain_value(text, "app")


def test_the_environment_has_defaults_that_the_app_overrides() -> None:
    app = dataclasses.replace(APP, environment={"HOME": "/home/web", "A": "1", "AC_APP_NAME": "other"})
    found = dict(unquote_variable(line + "\n") for line in environment_file(app).splitlines())
    assert found["HOME"] == "/home/web"
    assert found["A"] == "1"
    assert found["USER"] == found["LOGNAME"] == "root"
    assert found["AC_APP_NAME"] == "web-1"
    assert found["PATH"].startswith("/usr/local/sbin:")


def test_the_default_target_requires_every_app() -> None:
    other = dataclasses.replace(APP, name="db")
    assert settings(default_target([APP, other]))["Requires"] == "web-1.service db.service"


def test_event_handlers_run_as_root() -> None:
    handlers = (EventHandler(Event.PRE_START, ("prepare", "%h")), EventHandler(Event.POST_STOP, ("/clean", "$A")))
    app = dataclasses.replace(APP, event_handlers=handlers)
    unit = app_unit(app, ROOT, Programs("/bin/web", ("/bin/prepare", "/clean")), [], interactive=False)
    assert settings(unit)["ExecStartPre"] == ':!"/bin/prepare" "%%h"'
    assert settings(unit)["ExecStopPost"] == ':!"/clean" "$A"'


def test_isolation_is_part_of_the_service() -> None:
    unit = app_unit(APP, ROOT, Programs("/web", ()), [("BindPaths", "/a"), ("BindPaths", "/b")], interactive=False)
    service = unit.partition("[Service]")[2]
    assert "\nBindPaths=/a\nBindPaths=/b\n" in service


def test_streams() -> None:
    streams = {Stream.INPUT: StreamMode.INTERACTIVE, Stream.OUTPUT: StreamMode.NULL}
    app = dataclasses.replace(APP, streams=streams)
    found = settings(app_unit(app, ROOT, Programs("/web", ()), [], interactive=False))
    assert (found["StandardInput"], found["StandardOutput"], found["StandardError"]) == (
        "tty",
        "null",
        "journal+console",
    )
    assert settings(app_unit(APP, ROOT, Programs("/web", ()), [], interactive=False))["StandardInput"] == "null"


@pytest.mark.parametrize(
    ("modes", "journal", "expected"),
    [
        (("tty", "tty", "log"), True, ("tty", "tty", "journal+console")),
        # Without a journal lines go to the pod's console, and not to the app's terminal.
        (("tty", "tty", "log"), False, ("tty", "tty", "file:/dev/console")),
        (
            ("stream", "log", "stream"),
            True,
            ("file:/run/stage1/attach/web-1/stdin", "journal+console", "file:/run/stage1/attach/web-1/stderr"),
        ),
    ],
)
def test_streams_that_one_attaches_to(modes: tuple[str, ...], journal: bool, expected: tuple[str, ...]) -> None:
    app = dataclasses.replace(APP, streams=dict(zip(Stream, map(StreamMode, modes), strict=True)))
    unit = app_unit(app, ROOT, Programs("/web", ()), [], interactive=False, journal=journal)
    found = settings(unit)
    assert (found["StandardInput"], found["StandardOutput"], found["StandardError"]) == expected
    assert found.get("TTYPath") == ("/run/stage1/attach/web-1/tty" if "tty" in modes else None)
    assert "attach@web-1.service" in found["Requires"] and "attach@web-1.service" in found["After"]
    service = settings(stream_unit(app, journal=journal))
    assert service["ExecStart"].endswith(
        "stage1.pyz streams web-1 " + ("tty-in tty-out" if "tty" in modes else "stdin stderr")
    )
    # The pod's console takes the place of all of them.
    assert "attach@" not in app_unit(app, ROOT, Programs("/web", ()), [], interactive=True, journal=journal)


def test_an_app_that_notifies() -> None:
    found = settings(
        app_unit(dataclasses.replace(APP, notifies=True), ROOT, Programs("/web", ()), [], interactive=False)
    )
    assert (found["Type"], found["NotifyAccess"], found["TimeoutStartSec"]) == ("notify", "all", "infinity")


def test_socket_activated_ports() -> None:
    ports = (
        Port("http", "tcp", 80, 1, True),
        Port("own", "tcp", 81, 1, False),
        Port("many", "udp", 5000, 2, True),
    )
    app = dataclasses.replace(APP, ports=ports)
    assert socket_unit(app) == (
        f"{MARK}\n"
        "[Unit]\n"
        "Description=Ports of application web-1\n"
        "DefaultDependencies=no\n"
        "Before=apps.target\n"
        "BindsTo=web-1.service\n"
        "\n"
        "[Socket]\n"
        "ListenStream=80\n"
        "ListenDatagram=5000\n"
        "ListenDatagram=5001\n"
        "BindIPv6Only=both\n"
    )
    service = settings(app_unit(app, ROOT, Programs("/bin/web", ()), [], interactive=False))
    assert service["Requires"] == "apps.target systemd-journald.socket web-1.socket"
