"""The user's side of a release: sums, signatures, provenance against the images, bills against their content."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from builder.image.sign import SIGNATURE_SUFFIX
from builder.inspection.image import read_image
from builder.inspection.verify import Outcome, verify_image
from builder.release import notes, provenance, site, sums
from common.errors import UserError
from common.files import file_digest
from common.gpg import find_signer

BILLS = MappingProxyType({".spdx.json": "spdx", ".cdx.json": "cyclonedx"})
"""Suffix of a bill of materials -> the module of builder.inspection.sbom that renders it."""
_MUST_BE_SIGNED = (".aci", ".tar.gz", ".whl", ".deb")


@dataclass
class Verdict:
    """What was found out."""

    good: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def require(self) -> None:
        """Raise `UserError` with the first fault, where there is one."""
        if self.faults:
            raise UserError(self.faults[0], hint="do not use this release")


def verify_folder(folder: Path, fingerprints: Collection[str] | None, keys: Path | None = None) -> Verdict:
    """Look at everything in the folder of a release.

    `keys` is a file of public keys, by default that which the release brings. `fingerprints` are those of primary keys
    that are trusted; without any, all of `keys` are. Keys that a release brings itself say no more than that all of it
    is by one hand. Raises `UserError` where there is no release.
    """
    verdict = Verdict()
    keys, listed = keys or folder / site.PUBLIC_KEYS, folder / sums.NAME
    for path in (folder / site.PUBLIC_KEYS, listed):
        if not path.is_file():
            raise UserError(f"{folder} is no release: it has no {path.name}", hint="name the folder with all its files")
    _try(verdict, sums.NAME, partial(_signed, listed, keys, fingerprints))
    if verdict.faults:
        return verdict
    expected = sums.parse(listed.read_text())
    _check_sums(verdict, folder, expected)
    names = [name for name in expected if (folder / name).is_file()]
    for name in names:
        if name.endswith(_MUST_BE_SIGNED):
            _try(verdict, f"signature of {name}", partial(_signed, folder / name, keys, fingerprints))
    for name in names:
        if name.endswith(".aci"):
            _check_image(verdict, folder / name, keys, fingerprints)
    for name in (notes.NAME, site.INDEX):
        if name not in expected:
            verdict.faults.append(f"{name} is missing")
    return verdict


def _try(verdict: Verdict, what: str, action: Callable[[], str]) -> None:
    try:
        said = action()
    except UserError as error:
        verdict.faults.append(f"{what}: {error}")
    else:
        verdict.good.append(f"{what}: {said}" if said else what)


def _signed(path: Path, keys: Path, fingerprints: Collection[str] | None) -> str:
    signer = find_signer(path, path.with_name(path.name + SIGNATURE_SUFFIX), keys, fingerprints)
    return f"signed by {signer.fingerprint} ({signer.user_id})"


def _check_sums(verdict: Verdict, folder: Path, expected: Mapping[str, str]) -> None:
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    own = {sums.NAME, sums.NAME + SIGNATURE_SUFFIX}
    for name in sorted(set(expected) - there):
        verdict.faults.append(f"{name} is missing")
    for name in sorted(there - set(expected) - own):
        verdict.faults.append(f"{name} is not in {sums.NAME}")
    wrong = [name for name in sorted(set(expected) & there) if file_digest(folder / name) != expected[name]]
    verdict.faults += [f"{name} is not what {sums.NAME} says" for name in wrong]
    if not wrong:
        verdict.good.append(f"{len(expected)} files are what {sums.NAME} says")


def _check_image(verdict: Verdict, path: Path, keys: Path, fingerprints: Collection[str] | None) -> None:
    try:
        image = read_image(path)
        for check in verify_image(image):
            if check.outcome is Outcome.FAILED:
                verdict.faults.append(f"{path.name}: {check.subject}: {check.details[0]}")
    except UserError as error:
        verdict.faults.append(str(error))
        return
    digest = file_digest(path)
    provenance_of = partial(_provenance, path, digest, image.image_id, keys, fingerprints)
    _try(verdict, f"provenance of {path.name}", provenance_of)
    for suffix in BILLS:
        _try(verdict, f"{path.name}{suffix}", partial(_bill, path, suffix, digest, image.packages))


def _provenance(path: Path, digest: str, image_id: str, keys: Path, fingerprints: Collection[str] | None) -> str:
    said = provenance.read(path.with_name(path.name + provenance.SUFFIX), keys, fingerprints)
    try:
        subjects = {subject["name"]: subject["digest"]["sha256"] for subject in said["subject"]}
        definition = said["predicate"]["buildDefinition"]
        source = definition["externalParameters"]["source"]
        parameters = definition["internalParameters"]
        commit = source["digest"]["gitCommit"]
        if subjects != {path.name: digest} or parameters["imageID"] != image_id:
            raise UserError("it is about another image")
        return f"commit {commit}, {len(definition['resolvedDependencies'])} pinned sources and packages"
    except (KeyError, TypeError) as error:
        raise UserError(f"it lacks {error}") from error


def _bill(path: Path, suffix: str, digest: str, packages: Mapping[str, str]) -> str:
    """Compare a bill with the image: which file it is about, and each package with its version."""
    file = path.with_name(path.name + suffix)
    try:
        document = json.loads(file.read_text())
        digests, versions = (_spdx if BILLS[suffix] == "spdx" else _cyclonedx)(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"not a bill of materials: {error}") from error
    if digest not in digests:
        raise UserError("it is about another image")
    for name, version in sorted(packages.items()):
        if versions.get(name) != version:
            raise UserError(f"the image has {name} {version}, and the bill {versions.get(name) or 'nothing of it'}")
    return f"{len(versions)} parts"


def _spdx(document: Mapping[str, Any]) -> tuple[set[str], dict[str, str]]:
    packages = document["packages"]
    digests = {item["checksumValue"] for package in packages for item in package.get("checksums", ())}
    return digests, {package["name"]: package.get("versionInfo", "") for package in packages}


def _cyclonedx(document: Mapping[str, Any]) -> tuple[set[str], dict[str, str]]:
    top = document["metadata"]["component"]
    digests = {item["content"] for item in top.get("hashes", ())}
    return digests, {part["name"]: part.get("version", "") for part in document["components"]}
