"""Keystore, trust and fetch beside the original: what one writes the other reads, and both decide alike.

Needs rkt 1.30 itself, which MKSTAGE1_RKT names.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.image_server import Site, content, status
from tests.support.openpgp import make_key, need_gpg, scratch_home
from tests.support.original import ORIGINAL, needs_original
from tests.support.signers import Signers, make_aci

pytestmark = needs_original

APP = {"exec": ["/file"], "user": "0", "group": "0"}
PAGE = "https://example.com/app?ac-discovery=1"
TAGS = b"""<meta name="ac-discovery" content="example.com https://example.com/app-{version}-{os}-{arch}.{ext}">
<meta name="ac-discovery-pubkeys" content="example.com https://example.com/keys.gpg">"""


@dataclass(frozen=True)
class Both:
    """The two programs, on one keystore, with stores of their own."""

    directory: Path

    def run(self, *arguments: str, theirs: bool) -> subprocess.CompletedProcess[str]:
        program = [ORIGINAL] if theirs else [sys.executable, "-m", "stage0"]
        flags = [
            f"--dir={self.directory / ('their-data' if theirs else 'our-data')}",
            f"--local-config={self.directory / 'etc'}",
            f"--system-config={self.directory / 'usr'}",
        ]
        argv = [*program, *flags, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)

    @property
    def files(self) -> dict[str, tuple[int, bytes]]:
        root = self.directory / "etc"
        paths = (path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes()) for path in paths}


@pytest.fixture
def both(tmp_path: Path) -> Both:
    return Both(tmp_path)


@pytest.fixture(scope="module")
def rsa() -> Iterator[tuple[Signers, str]]:
    """A key of a kind that the original knows."""
    need_gpg()
    with scratch_home() as home:
        yield Signers(home), make_key(home, "Test Signer <signer@example.com>")


def test_trust_writes_and_says_the_same(both: Both, rsa: tuple[Signers, str], site: Site) -> None:
    signers, key = rsa
    site.routes |= {PAGE: content(TAGS), "https://example.com/keys.gpg": content(signers.public(key))}
    results = []
    for theirs in (True, False):
        done = both.run("trust", "--prefix", "example.com/app", "--skip-fingerprint-review", theirs=theirs)
        assert done.returncode == 0, done.stderr
        results.append((done.stdout, done.stderr.partition(": ")[2], both.files))
        shutil.rmtree(both.directory / "etc")
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "places",
    [
        ["etc:prefix.d/example.com/app"],
        ["etc:prefix.d/example.com"],
        ["usr:root.d"],
        ["etc:prefix.d/example.com/app/below"],
        ["etc:prefix.d/example.org"],
        ["usr:root.d", "etc:root.d -"],
        ["usr:root.d", "etc:prefix.d/example.com -"],
        ["etc:root.d", "usr:root.d -"],
        ["usr:prefix.d/example.com", "etc:root.d -"],
        ["usr:prefix.d/example.com/app", "etc:prefix.d/example.com -"],
        ["etc:prefix.d/example.com", "etc:prefix.d/example.com/app -"],
        ["etc:prefix.d/example.com/app", "etc:prefix.d/example.com -"],
        ["etc:prefix.d/example.com/0app", "etc:prefix.d/example.com -"],
        ["etc:prefix.d/example.com/zapp", "etc:prefix.d/example.com -"],
    ],
)
def test_both_trust_the_same_images(places: list[str], both: Both, rsa: tuple[Signers, str]) -> None:
    signers, key = rsa
    for place in places:
        directory, _, folder = place.removesuffix(" -").partition(":")
        path = both.directory / directory / "trustedkeys" / folder / key.lower()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if place.endswith(" -") else signers.public(key))
    decisions = {}
    for name in ("example.com/app", "example.com/0app", "example.com/zapp"):
        aci = make_aci(name, app=APP)
        image = both.directory / "image.aci"
        image.write_bytes(aci)
        image.with_name("image.aci.asc").write_bytes(signers.sign(aci, key))
        theirs, ours = (both.run("fetch", "--full", str(image), theirs=theirs) for theirs in (True, False))
        assert (theirs.returncode, theirs.stdout) == (ours.returncode, ours.stdout), (theirs.stderr, ours.stderr)
        decisions[name] = theirs.returncode
    assert set(decisions.values()) <= {0, 254}


def test_both_fetch_the_same_image_by_name(both: Both, rsa: tuple[Signers, str], site: Site) -> None:
    signers, key = rsa
    aci = make_aci(app=APP)
    url = "https://example.com/app-1-linux-amd64.aci"
    site.routes |= {PAGE: content(TAGS), url: content(aci), f"{url}.asc": content(signers.sign(aci, key))}
    signers.trust(both.directory / "etc", key, "example.com")
    theirs, ours = (both.run("fetch", "--full", "example.com/app:1", theirs=theirs) for theirs in (True, False))
    assert theirs.returncode == ours.returncode == 0, (theirs.stderr, ours.stderr)
    assert theirs.stdout == ours.stdout
    for done in (theirs, ours):
        assert "signature verified:\n  Test Signer <signer@example.com>\n" in done.stderr
    site.routes[f"{url}.asc"] = status(404)
    for original in (True, False):
        done = both.run("fetch", "example.com/app:1", theirs=original)
        assert done.returncode == 254
        assert "error downloading the signature file" in done.stderr or "bad HTTP status code: 404" in done.stderr
