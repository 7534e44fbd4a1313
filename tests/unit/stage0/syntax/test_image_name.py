from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import UserError
from stage0.syntax.image_name import (
    ForeignImage,
    ImageFile,
    ImageName,
    ImageUrl,
    Reference,
    StoredImage,
    parse_name,
    parse_reference,
    with_platform,
)

ID = "sha512-" + "ab" * 32


def name(text: str, **labels: str) -> ImageName:
    return ImageName(text, MappingProxyType(labels))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ID, StoredImage(ID)),
        ("sha512-abcdef", StoredImage("sha512-abcdef")),
        ("example.com/app", name("example.com/app")),
        ("example.com/app:v2.0.9", name("example.com/app", version="v2.0.9")),
        ("example.com/app:1,os=linux", name("example.com/app", version="1", os="linux")),
        ("example.com/app,channel=alpha,version=1", name("example.com/app", channel="alpha", version="1")),
        ("my-app:v1", name("my-app", version="v1")),
        ("https://example.com/app.aci", ImageUrl("https://example.com/app.aci")),
        ("http://example.com:80/app.aci?x=1", ImageUrl("http://example.com:80/app.aci?x=1")),
        ("file:///images/an%20app.aci", ImageFile(Path("/images/an app.aci"))),
        ("/images/app", ImageFile(Path("/images/app"))),
        ("docker://busybox", ForeignImage("docker", "//busybox")),
        ("docker:busybox:1", ForeignImage("docker", "busybox:1")),
        ("oci-archive:/x.tar:tag", ForeignImage("oci-archive", "/x.tar:tag")),
    ],
)
def test_what_an_argument_names(text: str, expected: Reference) -> None:
    assert parse_reference(text) == expected


def test_files_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app").touch()
    assert parse_reference("app") == ImageFile(tmp_path / "app")
    assert parse_reference("./nothing") == ImageFile(tmp_path / "nothing")
    assert parse_reference("nothing.aci") == ImageFile(tmp_path / "nothing.aci")
    assert parse_reference("nothing") == name("nothing")


@pytest.mark.parametrize("text", ["https://example.com/app", "http:///app.aci", "file:///app.tar"])
def test_the_url_of_an_image_ends_in_aci(text: str) -> None:
    with pytest.raises(UserError, match="invalid image string"):
        parse_reference(text)


def test_what_is_no_url() -> None:
    with pytest.raises(UserError, match="is not a URL"):
        parse_reference("https://[::1/app.aci")


@pytest.mark.parametrize(
    "text", ["", "Example.com", "a b", "a:1:2", "a,b", "a,B=1", "a,x=1,x=2", "a:1,version=2", "a,name=b", "a,x=1:2"]
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(UserError, match="invalid image name"):
        parse_name(text)


def test_os_and_arch_are_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert with_platform(name("a", version="1")).labels == {"version": "1", "os": "linux", "arch": "amd64"}
    assert with_platform(name("a", arch="aarch64")).labels == {"os": "linux", "arch": "aarch64"}
    with pytest.raises(UserError, match="bad arch 'x86_64' for os 'linux'"):
        with_platform(name("a", arch="x86_64"))


def test_a_name_is_written_as_it_is_read() -> None:
    text = "example.com/app:1,arch=amd64,os=linux"
    assert str(parse_name(text)) == text


@given(st.text() | st.text(alphabet="abz09.-_~/:,=[]@%"))
@example("a" * 5000)
@example("https://[::1/x.aci")
@example("sha512-" + "g" * 64)
def test_any_text_names_an_image_or_is_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert not isinstance(reference, ImageName) or parse_name(str(reference)) == reference
