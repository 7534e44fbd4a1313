"""A release, from a tag to what strangers do with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.model.config import BuildConfig
from common.files import file_digest
from common.gpg import stop_agent
from tests.functional.support.builds import TIMEOUT, Checkout, copy_source
from tests.functional.support.openpgp_card import PIN, Card, SecretKey, answers_pin, inserted
from tests.functional.support.programs import Outcome, RunningProgram
from tests.functional.support.rkt import Rkt
from tests.support.image_server import content, serve
from tests.support.openpgp import gpg, make_key, need_gpg, scratch_home
from tests.support.original import ORIGINAL, needs_original

VERSION = "1.31.0"
FLY = f"stage1-fly-{VERSION}-linux-amd64.aci"
OPTIONS = (
    *("--with-stage1-flavors=fly,coreos", "--with-stage1-name-prefix=example.com"),
    "--with-stage1-kvm-hypervisors=qemu",
)


@dataclass(frozen=True)
class Project:
    """A checkout of a tag."""

    checkout: Checkout
    home: Path
    fingerprint: str

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        argv = ["git", "-C", str(self.checkout.srcdir), *identity, *words]
        return subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True).stdout

    def configure(self, *options: str) -> None:
        key = (f"--with-signing-key={self.fingerprint}", f"--with-gnupg-home={self.home}")
        outcome = self.checkout.configure(*OPTIONS, *key, *options)
        assert outcome.status == 0, outcome

    def start(self, *words: str) -> RunningProgram:
        argv = [self.checkout.builddir / "venv/bin/python", "-m", "builder", *words]
        environment = os.environ | {"MKSTAGE1_BUILDDIR": str(self.checkout.builddir)}
        return RunningProgram(list(map(str, argv)), cwd=self.checkout.srcdir, env=environment)

    def run(self, *words: str, status: int = 0) -> Outcome:
        with self.start(*words) as running:
            outcome = running.wait(TIMEOUT)
        assert outcome.status == status, outcome
        return outcome

    @property
    def folder(self) -> Path:
        return self.checkout.srcdir / "release" / f"v{VERSION}"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, configured: BuildConfig) -> Iterator[Project]:
    """A tag whose lock file is committed, and a build directory that is configured for it."""
    need_gpg()
    place = tmp_path_factory.mktemp("project")
    checkout = Checkout(place / "source", place / "build", configured.cache.directory)
    copy_source(checkout.srcdir)
    for name, old, new in (
        ("common/version.py", r'^VERSION = ".*"', f'VERSION = "{VERSION}"'),
        ("CHANGELOG.md", r"^## 1\.31\.0\+git.*", f"## {VERSION}"),
    ):
        path = checkout.srcdir / name
        text, count = re.subn(old, new, path.read_text(), flags=re.MULTILINE)
        assert count == 1, name
        path.write_text(text)
    with scratch_home() as home:
        made = Project(checkout, home, make_key(home, "Release <release@example.com>"))
        made.git("init", "--quiet")
        made.configure()
        made.run("lock", "--update")
        made.git("add", "--all")
        made.git("commit", "--quiet", "--message=release")
        made.git("tag", f"v{VERSION}")
        made.configure("--locked")
        # Not by `make release`, so that each test can run by itself.
        assert checkout.make("release-tools").status == 0
        yield made


@pytest.fixture(scope="module")
def release(project: Project) -> Path:
    """The folder of the release, made by the command of the README."""
    with project.checkout.start("release") as running:
        outcome = running.wait(TIMEOUT)
    assert outcome.status == 0, outcome
    assert f"{project.folder} is complete and verified" in outcome.stdout
    return project.folder


def test_what_is_in_it(release: Path) -> None:
    names = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    images = (FLY, FLY.replace("fly", "coreos"))
    signed = (*images, f"mkstage1-{VERSION}-py3-none-any.whl", f"rkt-v{VERSION}.tar.gz", f"rkt_{VERSION}_amd64.deb")
    papers = [
        f"{image}{suffix}" for image in images for suffix in (".spdx.json", ".cdx.json", ".intoto.jsonl", ".html")
    ]
    assert names == {
        *signed,
        *papers,
        *(f"{name}.asc" for name in (*signed, "SHA256SUMS")),
        *("SHA256SUMS", "pubkeys.gpg", "RELEASE-NOTES.md", "index.html"),
        *("stage1-fly/index.html", "stage1-coreos/index.html"),
    }
    sums = subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=release, check=False)
    assert sums.returncode == 0
    notes = (release / "RELEASE-NOTES.md").read_text()
    assert notes.startswith(f"# {VERSION}\n") and f"| `{FLY}` |" in notes


@pytest.mark.parametrize(
    "program", [None, pytest.param(Path(ORIGINAL), marks=needs_original)], ids=["ours", "original"]
)
def test_strangers_trust_and_fetch_by_name(
    release: Path, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: Path | None
) -> None:
    """The folder as it is, behind a web server for the domain that the images are named after."""
    rkt = Rkt(tmp_path / "host", program=program)
    with serve(tmp_path, monkeypatch) as site:
        for path in release.rglob("*"):
            name = str(path.relative_to(release))
            if path.is_file():
                site.routes[f"https://example.com/{name}"] = content(path.read_bytes())
            if path.name == "index.html":
                folder = f"/{path.parent.relative_to(release)}".removesuffix("/.")
                site.routes[f"https://example.com{folder}?ac-discovery=1"] = content(path.read_bytes())
        rkt("trust", "--skip-fingerprint-review", "--prefix=example.com/stage1-fly")
        fetched = rkt("fetch", "--full", f"example.com/stage1-fly:{VERSION}")
        inspected = project.run("inspect", "--json", str(release / FLY))
        # The store's keys are the first half of image IDs.
        key = fetched.stdout.strip()
        assert json.loads(inspected.stdout)["imageID"].startswith(key) and len(key) == len("sha512-") + 64
        verified = project.run("release", "verify", f"--fingerprint={project.fingerprint}", "https://example.com/")
        assert "FAILED" not in verified.stdout


def test_the_package_of_debian(release: Path, tmp_path: Path) -> None:
    package = release / f"rkt_{VERSION}_amd64.deb"
    subprocess.run(["dpkg-deb", "--extract", package, tmp_path], check=True)
    images = tmp_path / "usr/lib/rkt/stage1-images"
    assert {path.name for path in images.glob("*.aci")} == {"stage1-fly.aci", "stage1-coreos.aci"}
    assert file_digest(images / "stage1-fly.aci") == file_digest(release / FLY)
    said = subprocess.run([tmp_path / "usr/bin/rkt", "version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert f"rkt Version: {VERSION}" in said
    assert (tmp_path / "usr/share/man/man1/rkt.1").is_file()


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _swap_provenance(folder: Path) -> None:
    suffix = ".intoto.jsonl"
    shutil.copy(folder / f"{FLY.replace('fly', 'coreos')}{suffix}", folder / f"{FLY}{suffix}")


def _swap_bill(folder: Path) -> None:
    shutil.copy(folder / f"{FLY.replace('fly', 'coreos')}.spdx.json", folder / f"{FLY}.spdx.json")


def _append(name: str, text: str) -> Callable[[Path], None]:
    def action(folder: Path) -> None:
        with (folder / name).open("a") as file:
            file.write(text)

    return action


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (lambda folder: _flip(folder / FLY), f"{FLY} is not what SHA256SUMS says"),
        (lambda folder: _flip(folder / f"rkt-v{VERSION}.tar.gz"), "signature of rkt-v"),
        (lambda folder: _flip(folder / "RELEASE-NOTES.md"), "RELEASE-NOTES.md is not what"),
        (lambda folder: (folder / f"{FLY}.asc").unlink(), f"{FLY}.asc is missing"),
        (lambda folder: (folder / "index.html").unlink(), "index.html is missing"),
        (lambda folder: (folder / "more").touch(), "more is not in SHA256SUMS"),
        (_append("SHA256SUMS", f"{'0' * 64}  more\n"), "the signature does not fit the file"),
        (_append("SHA256SUMS.asc", "x"), ""),
        (_swap_provenance, "it is about another image"),
        (_swap_bill, "it is about another image"),
        (lambda folder: _flip(folder / f"{FLY}.intoto.jsonl"), f"provenance of {FLY}"),
    ],
)
def test_what_is_tampered_with_is_found(
    release: Path, project: Project, tmp_path: Path, tamper: Callable[[Path], None], fault: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(release, copy)
    tamper(copy)
    status = 1 if fault else 0
    outcome = project.run("release", "verify", f"--fingerprint={project.fingerprint}", str(copy), status=status)
    assert fault in "".join(line for line in outcome.stdout.splitlines() if line.startswith("FAILED") or not fault)


def test_a_key_of_somebody_else(release: Path, project: Project) -> None:
    outcome = project.run("release", "verify", f"--fingerprint={'0' * 40}", str(release), status=1)
    assert "which is not the expected key" in outcome.stdout


def test_a_release_is_made_once(release: Path, project: Project) -> None:
    assert f"{release} exists" in project.run("release", status=1).stderr


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        ("touch", "is not as it was committed: stray"),
        ("tag", f"HEAD has v9.9.9, not v{VERSION}"),
        ("commit", "HEAD has no tag"),
    ],
)
def test_what_is_not_released(project: Project, tmp_path: Path, prepare: str, message: str) -> None:
    git = project.git
    try:
        if prepare == "touch":
            (project.checkout.srcdir / "stray").touch()
        elif prepare == "tag":
            git("tag", "--delete", f"v{VERSION}")
            git("tag", "v9.9.9")
        else:
            git("commit", "--quiet", "--allow-empty", "--message=later")
        outcome = project.run("release", f"--output={tmp_path}", status=1)
        assert message in outcome.stderr
        assert list(tmp_path.iterdir()) == []
    finally:
        (project.checkout.srcdir / "stray").unlink(missing_ok=True)
        if prepare == "tag":
            git("tag", "--delete", "v9.9.9")
            git("tag", f"v{VERSION}")
        elif prepare == "commit":
            git("reset", "--quiet", "--hard", f"v{VERSION}")


@pytest.mark.everything
def test_killed_and_made_again(release: Path, project: Project, tmp_path: Path) -> None:
    """Wherever it is killed there is no release, and the next one is whole; offline it is the same."""
    output = tmp_path / "releases"
    for seconds in (1.0, 4.0, 9.0, 14.0):
        with project.start("release", f"--output={output}"):
            time.sleep(seconds)
        if output.exists():
            assert [path.name for path in output.iterdir() if not path.name.startswith(".")] == []
    project.configure("--locked", "--offline")
    project.run("release", f"--output={output}")
    assert [path.name for path in output.iterdir()] == [f"v{VERSION}"]
    # Signatures carry the time at which they were made, and the package holds some.
    changing = (".asc", ".intoto.jsonl", ".deb", "SHA256SUMS")
    for path in release.rglob("*"):
        if path.is_file() and not path.name.endswith((*changing, ".html")):
            again = output / f"v{VERSION}" / path.relative_to(release)
            assert path.read_bytes() == again.read_bytes(), path.name


def test_a_key_from_a_file_for_one_that_was_revoked(release: Path, project: Project, tmp_path: Path) -> None:
    """As a job of CI has it: two files, and no home.

    Both keys are published for as long as releases of both are of use; a revoked one is not taken.
    """
    with scratch_home() as home:
        fingerprint = make_key(home, "CI <release@example.com>", passphrase="open sesame")
        secret = gpg(home, "--armor", "--passphrase", "open sesame", "--export-secret-keys", fingerprint)
        gpg(home, "--import", stdin=(release / "pubkeys.gpg").read_text())
        # Its owner has kept it.
        certificate = (project.home / "openpgp-revocs.d" / f"{project.fingerprint}.rev").read_text()
        gpg(home, "--import", stdin=certificate.replace(":-----BEGIN", "-----BEGIN"))
        revoked = tmp_path / "revoked.asc"
        revoked.write_text(gpg(home, "--armor", "--export"))
    key, passphrase = tmp_path / "key.asc", tmp_path / "passphrase"
    key.write_text(secret)
    passphrase.write_text("open says me\n")
    outcome = project.checkout.configure(*OPTIONS, "--locked")
    assert outcome.status == 0, outcome
    words = ("release", f"--output={tmp_path / 'out'}", f"--key-file={key}", f"--passphrase-file={passphrase}")
    refused = project.run(*words, status=1)
    assert "gpg cannot sign" in refused.stderr and "build v" not in refused.stdout
    empty = f"--previous={tmp_path}"
    refused = project.run(*words, empty, status=1)
    assert "has none of these images" in refused.stderr and "build v" not in refused.stdout
    passphrase.write_text("open sesame\n")
    project.run(*words, f"--keys={release / 'pubkeys.gpg'}", f"--previous={release}")
    assert "development key" in project.run("release", f"--output={tmp_path / 'other'}", status=1).stderr
    made = tmp_path / f"out/v{VERSION}"
    verified = project.run("release", "verify", f"--fingerprint={fingerprint}", str(made))
    assert "CI <release@example.com>" in verified.stdout
    both = made / "pubkeys.gpg"
    assert both.read_text().count("-----BEGIN") == 1
    assert "## What changed in" in (made / "RELEASE-NOTES.md").read_text()
    trusted = (f"--fingerprint={project.fingerprint}", f"--fingerprint={fingerprint}")
    for folder in (release, made):
        assert "FAILED" not in project.run("release", "verify", *trusted, f"--keys={both}", str(folder)).stdout
    outcome = project.run("release", "verify", *trusted, f"--keys={revoked}", str(release), status=1)
    assert "the signing key was revoked" in outcome.stdout


@pytest.mark.parametrize("asked", [False, pytest.param(True, marks=pytest.mark.everything)], ids=["file", "asked"])
def test_a_key_on_a_smart_card(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool) -> None:
    """Its secret half is in the card alone. The PIN is asked for by a program of the user's, or is in a file."""
    with scratch_home() as maker, scratch_home() as home:
        fingerprint = make_key(maker, "Card <card@example.com>")
        card = Card(SecretKey.exported(maker, fingerprint))
        gpg(home, "--import", stdin=gpg(maker, "--armor", "--export", fingerprint))
        configured = ("--locked", f"--with-signing-key={fingerprint}", f"--with-gnupg-home={home}")
        outcome = project.checkout.configure(*OPTIONS, *configured)
        assert outcome.status == 1 and "has no such secret key" in outcome.stderr
        with inserted(card, home, monkeypatch):
            # An agent that works there does not know where this reader is.
            stop_agent(home)
            gpg(home, "--card-status")
            outcome = project.checkout.configure(*OPTIONS, *configured)
            assert outcome.status == 0, outcome
            pin = tmp_path / "pin"
            pin.write_text("654321\n")
            refused = project.run("release", f"--output={tmp_path / 'out'}", f"--passphrase-file={pin}", status=1)
            assert "Bad PIN" in refused.stderr and (card.signatures, card.wrong_pins) == (0, 1)
            assert "build v" not in refused.stdout
            pin.write_text(f"{PIN}\n")
            words = [f"--passphrase-file={pin}"]
            if asked:
                words = []
                answers_pin(home, PIN)
                # The agent that was told the wrong one has read its settings.
                stop_agent(home)
            project.run("release", f"--output={tmp_path / 'out'}", *words)
        if not asked:
            # That program would say for ever that the card is there.
            refused = project.run("release", f"--output={tmp_path / 'other'}", status=1)
            assert "gpg cannot sign" in refused.stderr
    # Images, programs, sums and provenance of the release, and the trial before it.
    assert card.signatures == 8 + 1
    folder = tmp_path / f"out/v{VERSION}"
    assert "FAILED" not in project.run("release", "verify", f"--fingerprint={fingerprint}", str(folder)).stdout
