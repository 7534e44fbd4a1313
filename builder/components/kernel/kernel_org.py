"""Kernel archives as kernel.org publishes them: a signed list of digests, and a signature over the uncompressed tar.

Both are checked: the list protects the bytes that are unpacked, the signature says that a maintainer made them.
Which keys count is written down in `kernel-configs/keys/trusted.toml`; the keys come from that folder and from the
GnuPG home of the person who builds. A mirror needs the same files beside the archive. An archive that is published
without them can be pinned instead: `URL#sha256=DIGEST`.
"""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.engine.graph import StepContext
from builder.model.config import BuildConfig
from builder.sources.download import fetch
from builder.sources.extract import LIMITS
from common import gpg
from common.decompression import plain_content
from common.errors import UserError
from common.process import run

DIGEST_LIST = "sha256sums.asc"

_DIGEST_LINE = re.compile(r"([0-9a-f]{64})\s+\*?(\S+)")
_KEY_BLOCK = re.compile(r"-----BEGIN PGP PUBLIC KEY BLOCK-----.*-----END PGP PUBLIC KEY BLOCK-----\n", re.DOTALL)
_HOW_TO_GET_KEYS = "gpg --locate-external-keys torvalds@kernel.org gregkh@kernel.org autosigner@kernel.org"


@dataclass(frozen=True)
class TrustedKeys:
    """Name of a person or service -> fingerprint of the primary key, for each of the two uses."""

    archive: Mapping[str, str]
    digests: Mapping[str, str]


def keys_folder(config: BuildConfig) -> Path:
    """The folder with `trusted.toml` and, where somebody put them there, armored keys."""
    return config.srcdir / "kernel-configs" / "keys"


def load_trusted(folder: Path) -> TrustedKeys:
    """Read `trusted.toml`."""
    data = tomllib.loads((folder / "trusted.toml").read_text())
    return TrustedKeys(data["archive"], data["digests"])


def fetch_verified(url: str, target: Path, ctx: StepContext) -> str:
    """Download a kernel archive to `target`, check it both ways, and return its SHA-256.

    Raises `UserError` where the list or the signature is absent, is not by a trusted key, or does not fit; `target`
    does not exist then.
    """
    folder = keys_folder(ctx.config)
    trusted = load_trusted(folder)
    keys = collect_keys(folder, trusted, ctx.scratch, ctx.config.signing.gnupg_home)
    base, _, name = url.rpartition("/")
    listing = ctx.scratch / DIGEST_LIST
    fetch(f"{base}/{DIGEST_LIST}", listing)
    digest = find_digest(gpg.read_clearsigned(listing, keys, trusted.digests.values()), name, url)
    signature = ctx.scratch / f"{_plain_name(name)}.sign"
    fetch(f"{base}/{signature.name}", signature)
    archive = ctx.scratch / name
    fetch(url, archive, sha256=digest, progress=ctx.progress)
    plain = ctx.scratch / _plain_name(name)
    with plain.open("wb") as sink:
        sink.writelines(plain_content(archive, most=LIMITS.tar_size))
    signer = gpg.verify_detached(plain, signature, keys, trusted.archive.values())
    plain.unlink()
    ctx.detail(f"{name}: digest listed, signed by {signer}")
    ctx.record("signed_by", signer)
    shutil.move(archive, target)
    return digest


def find_digest(listing: str, name: str, url: str) -> str:
    """The SHA-256 of the file `name` in the text of a digest list. Raises `UserError` where it is not there once."""
    found: set[str] = {digest for digest, other in _DIGEST_LINE.findall(listing) if other == name}
    if len(found) != 1:
        raise UserError(f"{url}: {DIGEST_LIST} has {'no digest' if not found else 'several digests'} for {name}")
    return found.pop()


def _plain_name(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return stem if dot and ending in {"gz", "xz", "bz2"} else name


def collect_keys(folder: Path, trusted: TrustedKeys, scratch: Path, home: Path | None) -> list[Path]:
    """Key files to check with: those in `folder`, and what the GnuPG home of the person has of the trusted keys.

    `home` is None for the usual one. Raises `UserError` where neither has any key for one of the two uses.
    """
    files = sorted(folder.glob("*.asc"))
    fingerprints = [*trusted.archive.values(), *trusted.digests.values()]
    options = ["--homedir", str(home)] if home is not None else []
    exported = run(["gpg", *options, "--batch", "--no-autostart", "--armor", "--export", *fingerprints], check=False)
    block = re.search(
        r"-----BEGIN PGP PUBLIC KEY BLOCK-----.*-----END PGP PUBLIC KEY BLOCK-----\n", exported, re.DOTALL
    )
    if block is not None:
        files.append(scratch / "exported.asc")
        files[-1].write_text(block[0])
    with gpg.throwaway_home() as throwaway:
        present = {key.fingerprint for key in gpg.import_keys(throwaway, files)} if files else set()
    for use, wanted in (("archives", trusted.archive), ("digest lists", trusted.digests)):
        if not present & set(wanted.values()):
            raise UserError(
                f"no key to check kernel.org's {use} with: need that of {' or '.join(wanted)}", hint=_HOW_TO_GET_KEYS
            )
    return files
