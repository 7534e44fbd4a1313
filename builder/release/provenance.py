"""How an image was made: an in-toto statement with SLSA provenance 1.0, in a signed DSSE envelope.

https://slsa.dev/spec/v1.0/provenance, https://github.com/secure-systems-lab/dsse. The signature is OpenPGP's, detached
and binary, over the envelope's pre-authentication encoding; `keyid` is the fingerprint of the primary key.
"""

from __future__ import annotations

import base64
import binascii
import json
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from builder.inspection.image import read_image
from builder.model.config import BuildConfig
from builder.model.lock import load
from builder.release.preconditions import Tagged
from common.errors import UserError
from common.files import file_digest
from common.gpg import find_signer
from common.version import VERSION

SUFFIX = ".intoto.jsonl"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
PAYLOAD = "application/vnd.in-toto+json"
BUILD_TYPE = "urn:mkstage1:build:1"
DEFAULT_BUILDER = "urn:mkstage1:builder:unnamed"

Signer = Callable[[Path], Path]
"""Makes an armored detached signature of a file, and returns its path."""


def statement(image: Path, config: BuildConfig, tagged: Tagged, builder: str) -> dict[str, Any]:
    """What is said of an image. The same build gives the same statement, whenever and wherever it ran."""
    source = {"uri": f"git+{tagged.origin or 'file:'}@refs/tags/{tagged.tag}", "digest": {"gitCommit": tagged.commit}}
    return {
        "_type": STATEMENT,
        "subject": [{"name": image.name, "digest": {"sha256": file_digest(image)}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"arguments": list(_arguments(config)), "source": source},
                "internalParameters": {"SOURCE_DATE_EPOCH": tagged.time, "imageID": read_image(image).image_id},
                "resolvedDependencies": [source, *_dependencies(config.downloads.lock_file)],
            },
            "runDetails": {"builder": {"id": builder, "version": {"mkstage1": VERSION}}},
        },
    }


def _arguments(config: BuildConfig) -> Iterator[str]:
    """The options of configure that say what is built, and not where."""
    places = ("--builddir=", "--with-cache-dir=", "--with-gnupg-home=", "--with-passphrase-file=")
    others = ("--offline", "--with-compiler-launcher=", "--install-deps", "--with-lock-file=", "BUILDDIR=")
    yield from (word for word in config.arguments if not word.startswith((*places, *others)))


def _dependencies(lock_file: Path) -> Iterator[dict[str, Any]]:
    lock = load(lock_file)
    for package in sorted(lock.packages, key=lambda package: package.key):
        uri = f"pkg:deb/debian/{package.name}@{package.version}?arch={package.architecture}&distro={package.suite}"
        yield {"uri": uri, "digest": {"sha256": package.sha256}, "annotations": {"verified": package.verified}}
    for source in sorted(lock.sources, key=lambda source: source.url):
        kind, _, digest = source.digest.partition(":")
        name = "gitCommit" if kind == "commit" else kind
        yield {"uri": source.url, "digest": {name: digest}, "annotations": {"verified": source.verified}}


def write(target: Path, said: dict[str, Any], fingerprint: str, signer: Signer) -> None:
    """Write the envelope, one line."""
    body = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    with tempfile.TemporaryDirectory(prefix="mkstage1-dsse-") as name:
        encoded = Path(name) / "encoded"
        encoded.write_bytes(_encoding(body))
        signature = _dearmored(signer(encoded).read_text())
    envelope = {
        "payloadType": PAYLOAD,
        "payload": base64.b64encode(body).decode(),
        "signatures": [{"keyid": fingerprint, "sig": base64.b64encode(signature).decode()}],
    }
    target.write_text(json.dumps(envelope, sort_keys=True, separators=(",", ":")) + "\n")


def read(path: Path, keys: Path, fingerprints: Collection[str] | None = None) -> dict[str, Any]:
    """The statement of an envelope that a key in `keys` signed, one of `fingerprints` where they are given.

    Raises `UserError`.
    """
    try:
        envelope = json.loads(path.read_text())
        body = base64.b64decode(envelope["payload"], validate=True)
        (signature,) = envelope["signatures"]
        raw = base64.b64decode(signature["sig"], validate=True)
        if envelope["payloadType"] != PAYLOAD:
            raise UserError(f"{path}: the payload is {envelope['payloadType']!r}, not {PAYLOAD}")
        said = json.loads(body)
        if said["_type"] != STATEMENT or said["predicateType"] != PREDICATE:
            raise UserError(f"{path}: no provenance in it, but {said['predicateType']!r}")
    except (OSError, ValueError, KeyError, TypeError, binascii.Error) as error:
        raise UserError(f"{path}: not an envelope with one signed statement: {error}") from error
    with tempfile.TemporaryDirectory(prefix="mkstage1-dsse-") as name:
        encoded, detached = Path(name) / "encoded", Path(name) / "signature"
        encoded.write_bytes(_encoding(body))
        detached.write_bytes(raw)
        find_signer(encoded, detached, keys, fingerprints, where=f"{path}: no good signature")
    return dict(said)


def _encoding(body: bytes) -> bytes:
    """DSSE's pre-authentication encoding, version 1."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(body), body)


def _dearmored(text: str) -> bytes:
    """The packets in an armored signature (RFC 4880, 6.2): what follows the headers, before the checksum."""
    lines = text.strip().splitlines()
    body = lines[lines.index("") + 1 : -1]
    return base64.b64decode("".join(line for line in body if not line.startswith("=")))
