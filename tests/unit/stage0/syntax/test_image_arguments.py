from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from stage0.syntax.image_arguments import AppArguments, Flag, Image, Images, Takes, images, scan

FLAGS = {"net": Takes.OPTIONAL, "port": Takes.VALUE, **dict.fromkeys(("exec", "mount", "memory", "name"), Takes.VALUE)}

_words = st.text(min_size=1).filter(lambda word: not word.startswith("-"))
_app_words = st.text().filter(lambda word: word != "---")
_images = st.tuples(_words, st.one_of(st.none(), st.lists(_app_words)))


def parse(*words: str) -> Images:
    return images(tuple(scan(words, dict.fromkeys(("signature", *FLAGS, "user", "environment"), Takes.VALUE))))


@given(st.lists(_images))
def test_images_and_their_arguments_come_back_as_they_were_given(
    given_images: list[tuple[str, list[str] | None]],
) -> None:
    words: list[str] = []
    for name, arguments in given_images:
        words.append(name)
        if arguments is not None:
            words += ["--", *arguments, "---"]
    apps = parse(*words).apps
    assert [(app.image, list(app.arguments)) for app in apps] == [(name, args or []) for name, args in given_images]


@given(st.lists(st.text()))
def test_any_words_are_read_or_refused_in_one_line(words: list[str]) -> None:
    try:
        images(tuple(scan(words, FLAGS)))
    except UserError as error:
        assert str(error)


def test_flags_take_their_value_after_an_equals_sign_or_from_the_next_word() -> None:
    parts = tuple(
        scan(["--port=a", "--port", "b", "--net", "img", "--net=none", "--exec", "--x", "--", "--net"], FLAGS)
    )
    assert parts == (
        Flag("port", "a"),
        Flag("port", "b"),
        Flag("net", None),
        Image("img"),
        Flag("net", "none"),
        Flag("exec", "--x"),
        AppArguments(("--net",)),
    )


def test_a_flag_belongs_to_the_image_before_it() -> None:
    first, second = parse("one", "--exec=/a", "--user", "u", "two", "--exec=/b").apps
    assert (first.exec, first.user, second.exec, second.user) == ("/a", "u", "/b", "")


def test_a_mount_before_the_first_image_is_for_all() -> None:
    found = parse("--mount=volume=all,target=/all", "one", "--mount", "volume=own,target=/own%20path")
    assert found.mounts == ({"volume": "all", "path": "/all"},)
    assert found.apps[0].mounts == ({"volume": "own", "path": "/own path"},)


def test_empty_words_are_kept_among_the_arguments_of_an_app_and_nowhere_else() -> None:
    (app,) = parse("", "one", "--", "", "a").apps
    assert app.arguments == ("", "a")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--", "a"], "an image is required before any app arguments"),
        (["one", "--", "a", "---", "--", "b"], "only one set of app arguments allowed per image"),
        (["--exec=/a", "one"], "--exec: must follow an image"),
        (["one", "--exec=/a", "--exec=/b"], "--exec: specified multiple times for the same image"),
        (["one", "--bogus"], "unknown flag: --bogus"),
        (["one", "-x"], "unknown flag '-x'"),
        (["one", "--name"], "flag needs an argument: --name"),
        (["one", "--memory=16m"], "--memory: memory limit of 0 bytes too low"),
        (["one", "--environment=A"], "--environment: 'A' must be specified as name=value"),
        (["one", "--mount=volume=v"], "--mount: the mount names no target"),
        (["one", "--mount=volume=v,target=/a,kind=b"], "--mount: unknown mount parameter 'kind'"),
    ],
)
def test_a_wrong_command_line_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(*words)
    assert str(caught.value) == message


def test_a_mount_needs_its_volume() -> None:
    found = parse("one", "--mount=volume=data,target=/data")
    with pytest.raises(UserError, match="dangling mount point '/data': volume 'data' not found"):
        found.check_volumes([{"name": "other"}])
    found.check_volumes([{"name": "data"}])
