from __future__ import annotations

from pathlib import Path

import pytest

from builder.debian import apt_sources
from builder.debian.apt_sources import backports_of, host_sources, mirror_sources
from common.errors import UserError

DEB822 = """\
# The archive itself.
Types: deb deb-src
URIs: http://mirror.example/debian
# Two of its suites.
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Trusted: yes
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFit
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""


def etc(root: Path, **files: str) -> Path:
    (root / "sources.list.d").mkdir(parents=True)
    for name, text in files.items():
        stem, _, suffix = name.partition("_")
        folder = root if stem == "top" else root / "sources.list.d"
        (folder / (f"sources.{suffix}" if stem == "top" else f"{stem}.{suffix}")).write_text(text)
    return root


def test_deb822_entries_keep_their_keys_and_lose_their_trust(tmp_path: Path) -> None:
    main, security = host_sources("bookworm", "amd64", etc(tmp_path, debian_sources=DEB822))

    assert main.suites == ("bookworm", "bookworm-updates")
    assert security.suites == ("bookworm-security",)
    text = main.render("amd64")
    assert "Types: deb\n" in text
    assert "Components: main\n" in text
    assert "Architectures: amd64\n" in text
    assert "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBFit\n" in text
    assert "Trusted" not in text


def test_one_line_entries(tmp_path: Path) -> None:
    text = """\
deb [arch=amd64,arm64 signed-by=/keys/a.gpg trusted=yes] http://mirror.example/debian bookworm main contrib # comment
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian trixie main
deb http://mirror.example/debian-security bookworm-security main
"""
    first, second = host_sources("bookworm", "amd64", etc(tmp_path, top_list=text))

    assert first.suites == ("bookworm",)
    assert dict(first.fields) == {"URIs": "http://mirror.example/debian", "Signed-By": "/keys/a.gpg"}
    assert dict(second.fields)["URIs"] == "http://mirror.example/debian-security"


@pytest.mark.parametrize(
    "text",
    [
        "deb http://mirror.example/debian trixie main\n",
        "deb http://mirror.example/docker bookworm stable\n",
        "deb [arch=arm64] http://mirror.example/debian bookworm main\n",
        "deb-src http://mirror.example/debian bookworm main\n",
        "# deb http://mirror.example/debian bookworm main\n",
        "deb http://mirror.example/debian-security bookworm-security main\n",
        "deb [unfinished\n",
    ],
)
def test_a_host_without_the_release(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match="no apt source of this machine offers Debian bookworm") as caught:
        host_sources("bookworm", "amd64", etc(tmp_path, top_list=text))
    assert "--with-debian-mirror" in caught.value.hint


def test_disabled_entries_and_other_files_do_not_count(tmp_path: Path) -> None:
    folder = etc(tmp_path, off_sources=f"Enabled: no\n{DEB822.partition(chr(10))[2]}", old_save=DEB822)
    with pytest.raises(UserError):
        host_sources("bookworm", "amd64", folder)


def test_an_entry_without_a_key_is_checked_by_debians_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = tmp_path / "debian.gpg"
    keyring.touch()
    monkeypatch.setattr(apt_sources, "KEYRING", keyring)
    (only,) = host_sources("bookworm", "amd64", etc(tmp_path, top_list="deb http://m.example/debian bookworm main\n"))
    assert dict(only.fields)["Signed-By"] == str(keyring)


@pytest.mark.parametrize(
    ("mirror", "security"),
    [
        ("http://mirror.example/debian", "http://mirror.example/debian-security"),
        ("http://mirror.example/archive/debian/20260101T000000Z", "http://mirror.example/archive/debian-security/20260101T000000Z"),
    ],
)  # fmt: skip
def test_a_mirror_with_security_updates_beside_it(tmp_path: Path, mirror: str, security: str) -> None:
    (tmp_path / "key").touch()
    main, updates = mirror_sources(mirror, "bookworm", tmp_path / "key")
    assert (main.suites, dict(main.fields)["URIs"]) == (("bookworm", "bookworm-updates"), mirror)
    assert (updates.suites, dict(updates.fields)["URIs"]) == (("bookworm-security",), security)


def test_another_mirror_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "key").touch()
    (only,) = mirror_sources("file:/srv/packages", "bookworm", tmp_path / "key")
    assert only.suites == ("bookworm",)


def test_backports_lie_beside_the_release(tmp_path: Path) -> None:
    sources = host_sources("bookworm", "amd64", etc(tmp_path, debian_sources=DEB822))
    (only,) = backports_of(sources, "bookworm")
    assert (only.suites, only.fields) == (("bookworm-backports",), sources[0].fields)


def test_a_mirror_needs_debians_keys(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="public keys are missing") as caught:
        mirror_sources("http://mirror.example/debian", "bookworm", tmp_path / "none.gpg")
    assert "debian-archive-keyring" in caught.value.hint
