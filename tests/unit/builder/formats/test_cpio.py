from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest

from builder.formats import cpio
from builder.formats.cpio import Member

MEMBERS = {
    "sub/file": Member(0o644, b"text"),
    "sub": Member(0o755, None),
    "init": Member(0o755, b"#!x"),
    "empty": Member(0o644, b""),
}


def archive(members: dict[str, Member], epoch: int = 1000) -> bytes:
    stream = io.BytesIO()
    cpio.write(stream, members, epoch)
    return stream.getvalue()


def test_the_order_of_the_members_is_of_no_account() -> None:
    assert archive(MEMBERS) == archive(dict(reversed(MEMBERS.items())))
    assert archive(MEMBERS) != archive(MEMBERS, epoch=1001)


@pytest.mark.parametrize("path", ["/init", "", "../x", "a//b", "./a"])
def test_paths_stay_below_the_root(path: str) -> None:
    with pytest.raises(ValueError, match="no path below the root"):
        archive({path: Member(0o644, b"")})


def test_cpio_reads_it(tmp_path: Path) -> None:
    if shutil.which("cpio") is None:
        pytest.skip("cpio is not installed")
    listing = subprocess.run(
        ["cpio", "--list", "--verbose", "--numeric-uid-gid"],
        input=archive(MEMBERS),
        capture_output=True,
        check=True,
        env={"TZ": "UTC", "LC_ALL": "C", "PATH": "/usr/bin:/bin"},
    ).stdout.decode()
    facts = [line.split() for line in listing.splitlines()]
    assert [(words[0], words[2], words[3], words[4], words[-1]) for words in facts] == [
        ("-rw-r--r--", "0", "0", "0", "empty"),
        ("-rwxr-xr-x", "0", "0", "3", "init"),
        ("drwxr-xr-x", "0", "0", "0", "sub"),
        ("-rw-r--r--", "0", "0", "4", "sub/file"),
    ]
    assert all(words[5:8] == ["Jan", "1", "1970"] for words in facts)
    subprocess.run(["cpio", "--extract", "--quiet"], input=archive(MEMBERS), cwd=tmp_path, check=True)
    assert (tmp_path / "sub/file").read_text() == "text"
