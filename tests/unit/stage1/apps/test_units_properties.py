"""Whatever texts a pod has, systemd reads them in our units as they are, by its rules and (where it is here) itself."""

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stage1.apps.devices import root_settings
from stage1.apps.executable import find_executable
from stage1.apps.units import Programs, app_unit, default_target, environment_file, plain_value, quote_argument
from stage1.apps.users import Identity
from stage1.host.errors import UserError
from stage1.host.paths import AppRoot, Tree
from stage1.pod.manifest import checked_text
from stage1.pod.pod import App, Event, EventHandler
from stage1.pod.volumes import Mount, Volume, VolumeKind
from tests.support.systemd_syntax import expand, read_command, read_environment_file, read_unit, words

SPECIAL = "\"'\\%$;:@!+-|#=~*?{}[]()<>&` \t\n\r\v\f\b\x01\x1b\x7f\x85\xa0\u2028\ufeff\u200bé😀nxu0s"


def is_text(text: str) -> bool:
    """Whether it can be in a manifest."""
    try:
        checked_text(text, "")
    except UserError:
        return False
    return True


TEXTS = st.text(st.one_of(st.sampled_from(SPECIAL), st.characters(blacklist_categories=["Cs"]))).filter(is_text)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
PATHS = TEXTS.map(lambda text: f"/{text}")
APP = App("web", "example.com/web", ("/web",), "0", "0", (), "/", {}, {})
ROOT = Identity(0, 0, ())
PLAIN = [
    (item.section, item.key) for item in read_unit(app_unit(APP, ROOT, Programs("/web", ()), [], interactive=False))
]


@given(TEXTS)
def test_a_word_is_one_word(text: str) -> None:
    assert [expand(word) for word in words(f"{quote_argument(text)} {quote_argument(text)}")] == [text, text]


@given(TEXTS, st.lists(TEXTS), st.lists(TEXTS, max_size=3))
def test_a_unit_has_the_commands_of_the_app_and_nothing_else(
    image: str, arguments: list[str], handler: list[str]
) -> None:
    handlers = (EventHandler(Event.PRE_START, ("first", *handler)), EventHandler(Event.POST_STOP, ("last", *handler)))
    app = dataclasses.replace(APP, image=image, arguments=("web", *arguments), event_handlers=handlers)
    unit = read_unit(app_unit(app, ROOT, Programs("/bin/web", ("/first", "/last")), [], interactive=False))
    assert [(item.section, item.key) for item in unit] == [
        *PLAIN,
        ("Service", "ExecStartPre"),
        ("Service", "ExecStopPost"),
    ]
    found = {item.key: item.value for item in unit}
    for key, path, expected in (
        ("ExecStart", "/bin/web", arguments),
        ("ExecStartPre", "/first", handler),
        ("ExecStopPost", "/last", handler),
    ):
        command = read_command(found[key])
        assert (command.path, list(command.arguments)) == (path, expected)
        assert ":" in command.prefixes
    assert expand(found["Description"]).startswith("Application=web Image=")


@given(TEXTS)
def test_a_plain_value_is_itself_or_refused(text: str) -> None:
    try:
        value = plain_value(text, "app")
    except UserError:
        return
    (setting,) = read_unit(f"[Service]\nWorkingDirectory={value}\n")
    assert expand(setting.value) == text


@given(st.dictionaries(NAMES, TEXTS))
def test_the_environment_is_that_of_the_app(environment: dict[str, str]) -> None:
    found = read_environment_file(environment_file(dataclasses.replace(APP, environment=environment)))
    assert found == {
        "PATH": found["PATH"],
        "SHELL": "/bin/sh",
        "USER": "root",
        "LOGNAME": "root",
        "HOME": "/root",
        **environment,
        "AC_APP_NAME": "web",
    }


@given(st.lists(PATHS, min_size=1, max_size=4, unique=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_paths_of_volumes_are_single_words(tmp_path: Path, paths: list[str]) -> None:
    (tmp_path / "root").mkdir(exist_ok=True)
    volume = Volume("data", VolumeKind.EMPTY)
    app = dataclasses.replace(APP, read_only_root=True, mounts=tuple(Mount(path, volume) for path in paths))
    try:
        found = root_settings(app, AppRoot(Tree(str(tmp_path)), "root"), own_hosts=False, protect=True)
    except UserError:
        assert not all(path.isprintable() for path in paths)
        return
    (value,) = [value for name, value in found if name == "ReadWritePaths"]
    assert [expand(word) for word in words(value)] == [f"-+{path}" for path in paths]


@given(st.lists(st.from_regex(r"[a-z0-9]+(-[a-z0-9]+)*", fullmatch=True), min_size=1, max_size=5, unique=True))
def test_the_target_needs_every_app(names: list[str]) -> None:
    unit = read_unit(default_target([dataclasses.replace(APP, name=name) for name in names]))
    assert [words(item.value) for item in unit if item.key == "Requires"] == [[f"{name}.service" for name in names]]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@given(st.lists(TEXTS, max_size=4), TEXTS, PATHS, PATHS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_systemd_itself_takes_the_unit(
    tmp_path: Path, arguments: list[str], image: str, program: str, directory: str
) -> None:
    app = dataclasses.replace(
        APP, image=image, arguments=("web", *arguments), working_directory=re.sub(r"/+\.*", "/", directory)
    )
    try:
        executable = find_executable(app, AppRoot(Tree(str(tmp_path)), "."), re.sub(r"/\.+", "/", program))
        unit = app_unit(app, ROOT, Programs(executable, ()), [], interactive=False)
    except UserError:
        return
    # The units that it names are not here, and the program neither.
    lines = [line for line in unit.splitlines() if not line.startswith(("Requires", "After", "On", "Conflicts"))]
    (tmp_path / "web.service").write_text("\n".join(lines) + "\n")
    command = [
        "systemd-analyze",
        "verify",
        "--man=no",
        "--generators=no",
        "--recursive-errors=no",
        str(tmp_path / "web.service"),
    ]
    said = subprocess.run(command, capture_output=True, text=True, errors="replace").stderr
    problems = [line for line in said.splitlines() if "web.service:" in line or "Unit web.service" in line]
    assert [line for line in problems if "is not executable" not in line] == []
