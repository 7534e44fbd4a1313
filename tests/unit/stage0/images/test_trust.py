from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from stage0 import cli
from stage0.images.trust import grouped
from tests.support.image_server import Site, content
from tests.support.openpgp import make_key, make_named_key
from tests.support.signers import Signers

KEY = "https://example.com/keys.gpg"
PAGE = "https://example.com/app?ac-discovery=1"


class Terminal(io.StringIO):
    """A person who types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def key(signers: Signers, tmp_path: Path) -> Path:
    path = tmp_path / "key.asc"
    path.write_bytes(signers.public(signers.good))
    return path


class Rkt:
    """`rkt trust` with a keystore of its own."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keystore = directory / "etc" / "trustedkeys"
        # Where keys go: the configuration of the host for root, their own one for everybody else.
        own, other = ("local", "user") if os.geteuid() == 0 else ("user", "local")
        self._flags = [f"--dir={directory / 'data'}", f"--{own}-config={directory / 'etc'}"]
        self._flags += [f"--system-config={directory / 'usr'}", f"--{other}-config={directory / 'none'}"]
        self._monkeypatch = monkeypatch

    def trust(self, *arguments: str) -> int:
        self._monkeypatch.setattr(sys, "argv", ["rkt", *self._flags, "trust", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    def types(self, text: str) -> None:
        self._monkeypatch.setattr(sys, "stdin", Terminal(text))
        self._monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    @property
    def keys(self) -> list[str]:
        return [str(path.relative_to(self.keystore)) for path in sorted(self.keystore.rglob("*")) if path.is_file()]


@pytest.fixture
def rkt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rkt:
    return Rkt(tmp_path, monkeypatch)


def test_fingerprints_are_shown_in_groups_of_four() -> None:
    assert grouped("8b86de38890ddb7291867b025210bd8888182190") == "8B86 DE38 890D DB72 9186  7B02 5210 BD88 8818 2190"


def test_a_name_that_is_not_utf_8_is_shown_by_escapes(
    rkt: Rkt, signers: Signers, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key.asc"
    key.write_bytes(signers.public(make_named_key(signers.home, b"J\xf6rg")))
    assert rkt.trust("--prefix", "example.com/app", "--skip-fingerprint-review", str(key)) == 0
    assert "\n\tJ\\xf6rg\n" in capfd.readouterr().out
    assert len(rkt.keys) == 1


def test_a_key_file_is_shown_and_kept_in_rkts_words(
    rkt: Rkt, key: Path, signers: Signers, capfd: pytest.CaptureFixture[str]
) -> None:
    assert rkt.trust("--prefix", "example.com/app", "--skip-fingerprint-review", str(key)) == 0
    name = f"prefix.d/example.com/app/{signers.good.lower()}"
    captured = capfd.readouterr()
    assert captured.err == f'rkt: prefix: "example.com/app"\nkey: "{key}"\n'
    assert captured.out == (
        f"gpg key fingerprint is: {grouped(signers.good)}\n"
        "\tGood Signer <good@example.com>\n"
        f'Trusting "{key}" for prefix "example.com/app" without fingerprint review.\n'
        f'Added key for prefix "example.com/app" at "{rkt.keystore / name}"\n'
    )
    assert rkt.keys == [name]
    assert (rkt.keystore / name).read_bytes() == key.read_bytes()


def test_a_root_key(rkt: Rkt, key: Path, signers: Signers, capfd: pytest.CaptureFixture[str]) -> None:
    assert rkt.trust("--root", "--skip-fingerprint-review", str(key)) == 0
    assert f'Added root key at "{rkt.keystore}/root.d/{signers.good.lower()}"\n' in capfd.readouterr().out
    assert rkt.keys == [f"root.d/{signers.good.lower()}"]


def test_a_key_is_discovered(rkt: Rkt, site: Site, signers: Signers) -> None:
    site.routes[PAGE] = content(b'<meta name="ac-discovery-pubkeys" content="example.com %s">' % KEY.encode())
    site.routes[KEY] = content(signers.public(signers.good))
    assert rkt.trust("--prefix=example.com/app", "--skip-fingerprint-review") == 0
    assert rkt.keys == [f"prefix.d/example.com/app/{signers.good.lower()}"]


@pytest.mark.parametrize(("typed", "kept"), [("yes\n", True), ("no\n", False), ("y\nYES\nyes\n", True)])
def test_a_person_decides(typed: str, kept: bool, rkt: Rkt, key: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rkt.types(typed)
    assert rkt.trust("--prefix=example.com/app", str(key)) == 0
    captured = capfd.readouterr()
    questions = typed.count("\n")
    assert captured.out.count("Are you sure you want to trust this key (yes/no)?\n") == questions
    assert captured.out.count("Please enter 'yes' or 'no'\n") == questions - 1
    assert ("after fingerprint review" in captured.out) is kept
    assert (f'rkt: not trusting "{key}"' in captured.err) is not kept
    assert bool(rkt.keys) is kept


def test_nobody_to_ask_is_a_failure(rkt: Rkt, key: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert rkt.trust("--prefix=example.com/app", str(key)) == 254
    assert "unable to ask user to review fingerprint due to lack of tty" in capfd.readouterr().err
    assert rkt.keys == []


def test_an_answer_that_never_comes_is_a_failure(rkt: Rkt, key: Path) -> None:
    rkt.types("maybe")
    assert rkt.trust("--prefix=example.com/app", str(key)) == 254
    assert rkt.keys == []


def test_https_can_be_enough(rkt: Rkt, site: Site, signers: Signers, key: Path) -> None:
    site.routes[KEY] = content(signers.public(signers.good))
    assert rkt.trust("--trust-keys-from-https", "--prefix=example.com/app", str(key)) == 254
    assert rkt.trust("--trust-keys-from-https", "--prefix=example.com/app", KEY) == 0


def test_http_only_where_it_is_allowed(
    rkt: Rkt, site: Site, signers: Signers, capfd: pytest.CaptureFixture[str]
) -> None:
    plain = KEY.replace("https", "http")
    site.routes[plain] = content(signers.public(signers.good))
    arguments = ("--prefix=example.com/app", "--skip-fingerprint-review", plain)
    assert rkt.trust(*arguments) == 254
    assert "--insecure-allow-http required for http URLs" in capfd.readouterr().err
    assert site.urls == [] and rkt.keys == []
    assert rkt.trust("--insecure-allow-http", *arguments) == 0
    assert len(rkt.keys) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--prefix or --root is required"),
        (["key.asc"], "aborting due to implicit unbounded trust (root domain)"),
        (["--prefix=a", "--root"], "--root and --prefix usage mutually exclusive"),
        (["--prefix=https://a/b"], "--prefix must not contain a URL scheme, omit https://"),
        (["--root"], "error determining key location: empty prefix"),
        (["--root", "nothing.asc"], "nothing.asc: No such file or directory"),
        (["--root", "ftp://a/b"], "only local files and http or https URLs supported"),
        (["--prefix=a/*", "--skip-fingerprint-review", "KEY"], "'a/*' is not the name of an image"),
        (["--root", "EMPTY"], "no armored OpenPGP public key found"),
        (["--root", "BINARY"], "no armored OpenPGP public key found"),
        (["--root", "SECRET"], "no armored OpenPGP public key found"),
        (["--root", "DAMAGED"], "there is no valid OpenPGP key of version 4 in it"),
    ],
)
def test_what_is_wrong_is_named(
    arguments: list[str],
    message: str,
    rkt: Rkt,
    key: Path,
    signers: Signers,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    files = {
        "KEY": key.read_bytes(),
        "EMPTY": b"",
        "BINARY": b"\x99\x01\x0d\x04",
        "SECRET": b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n",
        "DAMAGED": key.read_bytes()[:120] + b"\n",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    assert rkt.trust(*(str(tmp_path / word) if word in files else word for word in arguments)) == 254
    captured = capfd.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert rkt.keys == []


def test_a_user_id_cannot_move_the_cursor(
    rkt: Rkt, signers: Signers, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hostile = make_key(signers.home, "Hostile \u202eresrever <h@example.com>", algorithm="ed25519")
    path = tmp_path / "hostile.asc"
    path.write_bytes(signers.public(hostile))
    assert rkt.trust("--root", "--skip-fingerprint-review", str(path)) == 0
    assert "\\u202e" in capfd.readouterr().out


def test_keys_are_listed_and_removed(rkt: Rkt, key: Path, signers: Signers, capfd: pytest.CaptureFixture[str]) -> None:
    rkt.trust("--prefix=example.com/app", "--skip-fingerprint-review", str(key))
    capfd.readouterr()
    assert rkt.trust("--list") == 0
    path = rkt.keystore / "prefix.d/example.com/app" / signers.good.lower()
    assert capfd.readouterr().out == f"{signers.good.lower()}\texample.com/app\ttrusted\t{path}\n"
    assert rkt.trust("--root", f"--remove={grouped(signers.good)}") == 254
    assert rkt.trust("--prefix=example.com/app", f"--remove={grouped(signers.good)}") == 0
    assert capfd.readouterr().out == f'Removed key for prefix "example.com/app" at "{path}"\n'
    assert rkt.keys == []
