"""An image of etcd as a user makes it: from Debian's package, by `mkstage1 aci build`, signed with a key of theirs."""

from __future__ import annotations

import json
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.functional.support.images import NotBuilt, alone, configured_build
from tests.functional.support.packages import Unavailable, download
from tests.support.openpgp import gpg, make_key, scratch_home

NAME = "coreos.com/etcd"
VERSION = "v2.0.9"
"""The label of the image, not the version of Debian's package."""
PACKAGES = ("etcd-server", "libc6")
USER_IDS = ("Test Builder of ACIs <builder@example.com>", "Test Release <release@example.com>")
"""Of the key; the first is the primary one."""


@dataclass(frozen=True)
class SignedEtcd:
    """The image `etcd.aci` in `folder`, its signature and the key, with its fingerprint in lower case."""

    folder: str
    fingerprint: str

    @property
    def image(self) -> Path:
        return Path(self.folder, "etcd.aci")

    @property
    def signature(self) -> Path:
        return Path(self.folder, "etcd.aci.asc")

    @property
    def public_key(self) -> Path:
        return Path(self.folder, "etcd.pub.asc")


def build(workdir: Path) -> SignedEtcd:
    """The image, made in `workdir` by the first call. Raises `NotBuilt` where something is missing for it."""
    folder = workdir / "etcd"
    facts = folder / "facts.json"
    with alone(workdir, "etcd"):
        if not facts.exists():
            try:
                with tempfile.TemporaryDirectory() as scratch, scratch_home() as home:
                    folder.mkdir(exist_ok=True)
                    signed = SignedEtcd(str(folder), _make(home, Path(scratch), folder).lower())
                    facts.write_text(json.dumps(asdict(signed)))
            except (Unavailable, OSError) as error:
                raise NotBuilt(f"no image of etcd: {error}") from error
    return SignedEtcd(**json.loads(facts.read_text()))


def _signer(home: Path) -> str:
    """Make a key with all `USER_IDS` and return its fingerprint."""
    fingerprint = make_key(home, USER_IDS[0])
    for user_id in USER_IDS[1:]:
        gpg(home, "--passphrase", "", "--quick-add-uid", fingerprint, user_id)
    gpg(home, "--quick-set-primary-uid", fingerprint, USER_IDS[0])
    return fingerprint


def _make(home: Path, scratch: Path, folder: Path) -> str:
    """Build and sign; the fingerprint of the key."""
    fingerprint = _signer(home)
    program = configured_build().builddir / "venv/bin/mkstage1"
    debs = [f"--deb={download(package, scratch)}" for package in PACKAGES]
    options = [f"--name={NAME}", f"--label=version={VERSION}", "--port=client:2379", "--mount=data:/var/lib/etcd"]
    key = [f"--sign={fingerprint}", f"--gnupg-home={home}"]
    output = [str(folder / "etcd.aci"), "/usr/bin/etcd", "--data-dir=/var/lib/etcd"]
    argv = [str(program), "aci", "build", *options, *debs, *key, *output]
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    return fingerprint
