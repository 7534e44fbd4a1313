"""What changelogs say of vulnerabilities."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from builder.debian.advisories import mended, of_package
from tests.support.debian_packages import make_deb, need_debian_tools

CHANGELOG = """\
openssl (3.0.15-1~deb12u1) bookworm; urgency=medium

  * CVE-2024-5535 (SSL_select_next_proto buffer overread), CVE-2024-4741
  * Again CVE-2024-4741. No CVE-12-1.

openssl (3.0.14-1~deb12u2) bookworm; urgency=medium

  * CVE-2024-2511

openssl (3.0.14-1~deb12u1) bookworm; urgency=medium

  * CVE-2023-0001
"""


@pytest.mark.parametrize(
    ("since", "found"),
    [
        ("3.0.14-1~deb12u2", ("CVE-2024-4741", "CVE-2024-5535")),
        ("3.0.14-1~deb12u1", ("CVE-2024-2511", "CVE-2024-4741", "CVE-2024-5535")),
        ("3.0.15-1~deb12u1", ()),
        ("3.0.1", ()),
    ],
)
def test_what_is_newer_than_a_version(since: str, found: tuple[str, ...]) -> None:
    assert mended(CHANGELOG.splitlines(), since) == found


@pytest.mark.parametrize("name", ["changelog.Debian.gz", "changelog.Debian.amd64.gz", "changelog.gz", "none"])
def test_a_package(tmp_path: Path, name: str) -> None:
    need_debian_tools()
    path = f"usr/share/doc/libssl3/{name}"
    make_deb(tmp_path, "libssl3", "3.0.15-1", {path: gzip.compress(CHANGELOG.encode()), "usr/lib/x": "x"})
    (deb,) = tmp_path.glob("*.deb")
    expected = () if name == "none" else ("CVE-2024-4741", "CVE-2024-5535")
    assert of_package(deb, "3.0.14-1~deb12u2") == expected
