"""SHA256SUMS."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.release.sums import parse, render
from common.errors import UserError

DIGEST = "a" * 64


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("x")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/index.html").write_text("y")
    text = render(tmp_path, ["b", "a/index.html"])
    assert list(parse(text)) == ["a/index.html", "b"]
    assert text.splitlines()[1] == "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881  b"


@pytest.mark.parametrize(
    "line",
    [
        f"{DIGEST} one-space",
        f"{DIGEST}  ../etc/passwd",
        f"{DIGEST}  a/../../b",
        f"{DIGEST}  /etc/passwd",
        f"{DIGEST}  .hidden",
        f"{DIGEST[1:]}  short",
        f"{DIGEST}  a b",
        "",
        "-----BEGIN",
    ],
)
def test_any_other_line_is_refused(line: str) -> None:
    with pytest.raises(UserError, match="SHA256SUMS:2: not a digest and the name of a file"):
        parse(f"{DIGEST}  first\n{line}\n{DIGEST}  last\n")


def test_a_name_comes_once() -> None:
    with pytest.raises(UserError, match="SHA256SUMS:2: first comes twice"):
        parse(f"{DIGEST}  first\n{DIGEST}  first\n")
