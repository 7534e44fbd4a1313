from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from builder.model.mirrors import Mirror, first_good, parse, places
from builder.sources.tree import place
from common.errors import UserError
from tests.support.step_context import NO_STEP, PlainContext
from tests.unit.builder.synthetic import make_config

ONE, TWO = Mirror("https://a/", "https://b/x/"), Mirror("https://a/pub/", "https://c/")


def test_what_the_option_says() -> None:
    assert parse("https://a/=https://b/x/,https://a/pub/=https://c/") == (ONE, TWO)
    assert parse("") == ()


@pytest.mark.parametrize("text", ["https://a/", "a=b", "https://a/=b", "a=https://b/"])
def test_what_is_no_mirror(text: str) -> None:
    with pytest.raises(UserError, match="--with-mirror is not PREFIX=URL") as caught:
        parse(text)
    assert caught.value.hint


def test_the_places_of_a_url() -> None:
    assert places("https://a/pub/f", (ONE, TWO)) == ("https://b/x/pub/f", "https://c/f", "https://a/pub/f")
    assert places("https://a/f", (ONE, TWO)) == ("https://b/x/f", "https://a/f")
    assert places("https://d/f", (ONE, TWO)) == ("https://d/f",)
    assert places("https://a/f", (Mirror("https://a/", "https://a/"),)) == ("https://a/f",)


class Server:
    """Has what is right at some places, and remembers where it was asked."""

    def __init__(self, *good: str) -> None:
        self.good = good
        self.asked: list[str] = []

    def __call__(self, url: str) -> str:
        self.asked.append(url)
        if url not in self.good:
            raise UserError(f"{url}: bad digest")
        return url


def test_a_bad_file_does_not_hide_a_good_one() -> None:
    server, notices = Server("https://c/f"), list[str]()
    assert first_good("https://a/pub/f", (ONE, TWO), server, notices.append) == "https://c/f"
    assert server.asked == ["https://b/x/pub/f", "https://c/f"]
    assert notices == ["https://b/x/pub/f: bad digest; trying https://c/f"]


def test_all_places_are_named_where_none_is_right() -> None:
    with pytest.raises(UserError) as caught:
        first_good("https://a/f", (ONE,), Server(), lambda text: None)
    assert str(caught.value) == (
        "nowhere is what https://a/f stands for: https://b/x/f: bad digest; https://a/f: bad digest"
    )
    with pytest.raises(UserError, match=r"^https://d/f: bad digest$"):
        first_good("https://d/f", (ONE,), Server(), lambda text: None)


def test_a_source_from_the_second_mirror(tmp_path: Path) -> None:
    for name, text in (("bad", "damaged"), ("good", "")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.tar.gz").write_text(text)
    (tmp_path / "Makefile").write_text("all:\n")
    archive = tmp_path / "good/x.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "Makefile", arcname="x/Makefile")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    mirrors = tuple(
        Mirror("https://source.example/", f"{(tmp_path / name).as_uri()}/") for name in ("absent", "bad", "good")
    )
    config = make_config(tmp_path, downloads_mirrors=mirrors)
    context = PlainContext(tmp_path / "step", config, NO_STEP)
    place(f"https://source.example/x.tar.gz#sha256={digest}", "", tmp_path / "tree", context)
    assert (tmp_path / "tree/Makefile").read_text() == "all:\n"
    assert [notice.partition(": ")[0] for notice in context.notices[:2]] == [
        f"{(tmp_path / name).as_uri()}/x.tar.gz" for name in ("absent", "bad")
    ]
