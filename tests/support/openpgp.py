"""Keys for tests, made with gpg itself in homes of their own."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

AGENT_OPTIONS = "gpg-agent.conf"


def need_gpg() -> None:
    for program in ("gpg", "gpgconf", "gpg-connect-agent"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def gpg(home: Path, *arguments: str, stdin: str = "") -> str:
    argv = ["gpg", "--homedir", str(home), "--batch", "--yes", "--pinentry-mode", "loopback", *arguments]
    done = subprocess.run(
        argv, input=stdin, capture_output=True, encoding="utf-8", errors="backslashreplace", check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def scratch_home() -> Iterator[Path]:
    """Short enough for the sockets of an agent, wherever pytest puts its directories."""
    with tempfile.TemporaryDirectory(prefix="h-") as name:
        home = Path(name)
        # By itself an agent measures for seconds how often a passphrase has to be hashed to be safe here.
        (home / AGENT_OPTIONS).write_text("s2k-count 65536\n")
        try:
            yield home
        finally:
            subprocess.run(["gpgconf", "--homedir", name, "--kill", "all"], check=False, capture_output=True)


def make_key(
    home: Path,
    user: str,
    *,
    algorithm: str = "rsa2048",
    expires: str = "never",
    passphrase: str = "",
    options: tuple[str, ...] = (),
) -> str:
    """Make a signing key and return its fingerprint."""
    gpg(home, "--passphrase", passphrase, *options, "--quick-gen-key", user, algorithm, "sign,cert", expires)
    listing = gpg(home, "--with-colons", "--list-keys", f"={user}")
    return str(re.findall(r"^fpr:+([0-9A-F]{40}):", listing, re.MULTILINE)[-1])


def make_named_key(home: Path, user: bytes) -> str:
    """Make a signing key whose name is any bytes and return its fingerprint."""
    before = _fingerprints(home)
    sheet = home / "sheet"
    kind = b"Key-Type: EDDSA\nKey-Curve: ed25519\nKey-Usage: sign,cert\nExpire-Date: 0\n%no-protection\n"
    sheet.write_bytes(kind + b"Name-Real: " + user + b"\n%commit\n")
    gpg(home, "--gen-key", str(sheet))
    (made,) = _fingerprints(home) - before
    return made


def _fingerprints(home: Path) -> set[str]:
    return set(re.findall(r"^fpr:+([0-9A-F]{40}):", gpg(home, "--with-colons", "--list-keys"), re.MULTILINE))


def revoke(home: Path, fingerprint: str) -> None:
    certificate = (home / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text()
    gpg(home, "--import", stdin=certificate.replace(":-----BEGIN", "-----BEGIN"))


def export(home: Path, fingerprint: str, target: Path) -> Path:
    target.write_text(gpg(home, "--armor", "--export", fingerprint))
    return target


def detach(home: Path, fingerprint: str, data: Path, *options: str) -> Path:
    signature = data.with_name(data.name + ".sig")
    gpg(home, *options, "--local-user", fingerprint, "--output", str(signature), "--detach-sign", str(data))
    return signature


def agents_of(home: Path) -> list[int]:
    """Process ids of the agents at work in `home`, under whatever name they know it."""
    found = []
    for number in (entry.name for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        words = _words(int(number))
        if words[0].endswith("gpg-agent") and "--homedir" in words:
            used = Path(words[words.index("--homedir") + 1])
            if used.resolve() == home.resolve():
                found.append(int(number))
    return found


def wait_for_end(processes: list[int]) -> None:
    """Agents end a moment after they were told to."""
    deadline = time.monotonic() + 30
    while any(_words(process)[0] for process in processes):
        assert time.monotonic() < deadline, f"still running: {processes}"
        time.sleep(0.01)


def _words(process: int) -> list[str]:
    try:
        return Path("/proc", str(process), "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return [""]
