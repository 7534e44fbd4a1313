"""Keys and signed images for tests."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stage0.keys.keystore import Keystore
from tests.support.openpgp import gpg, make_key, revoke

_PAST = ("--faked-system-time", "20200101T000000!")


@dataclass
class Signers:
    """Keys of several fates in one GnuPG home."""

    home: Path

    @cached_property
    def good(self) -> str:
        return make_key(self.home, "Good Signer <good@example.com>", algorithm="ed25519")

    @cached_property
    def stranger(self) -> str:
        return make_key(self.home, "Stranger <stranger@example.com>", algorithm="ed25519")

    @cached_property
    def expiring(self) -> str:
        """A key that has expired; its signatures are from before."""
        return make_key(self.home, "Old Signer <old@example.com>", algorithm="ed25519", expires="1d", options=_PAST)

    def public(self, fingerprint: str) -> bytes:
        return gpg(self.home, "--armor", "--export", fingerprint).encode()

    def make_lost(self, data: bytes) -> tuple[str, bytes]:
        """A key that signed `data` and was revoked after that, and the signature."""
        lost = make_key(self.home, "Lost Signer <lost@example.com>", algorithm="ed25519")
        signature = self.sign(data, lost)
        revoke(self.home, lost)
        return lost, signature

    def sign(self, data: bytes, fingerprint: str, *options: str, armor: bool = True) -> bytes:
        source, target = self.home / "data", self.home / "data.asc"
        source.write_bytes(data)
        past = _PAST if fingerprint == self.__dict__.get("expiring") else ()
        form = ("--armor",) if armor else ()
        gpg(
            self.home,
            *past,
            *options,
            *form,
            "--local-user",
            fingerprint,
            "--output",
            str(target),
            "--detach-sign",
            str(source),
        )
        return target.read_bytes()

    def trust(self, directory: Path, fingerprint: str, prefix: str) -> Path:
        return Keystore((directory,)).add(fingerprint.lower(), self.public(fingerprint), prefix)


def make_aci(name: str = "example.com/app", labels: Mapping[str, str] | None = None, **more: object) -> bytes:
    """A small image."""
    pairs = {"os": "linux", "arch": "amd64", "version": "1"} if labels is None else labels
    manifest = {
        "acKind": "ImageManifest",
        "acVersion": "0.8.11",
        "name": name,
        "labels": [{"name": key, "value": value} for key, value in pairs.items()],
        **more,
    }
    result = io.BytesIO()
    with tarfile.open(fileobj=result, mode="w:gz") as archive:
        data = json.dumps(manifest).encode()
        info = tarfile.TarInfo("manifest")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
        folder = tarfile.TarInfo("rootfs")
        folder.type = tarfile.DIRTYPE
        folder.mode = 0o755
        archive.addfile(folder)
        file = tarfile.TarInfo("rootfs/file")
        file.size = 5
        archive.addfile(file, io.BytesIO(b"hello"))
    return result.getvalue()
