"""A bill as CycloneDX 1.6 (ECMA-424), written by the project's own library."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import AttachedText, HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType, Patch, PatchClassification, Pedigree
from cyclonedx.model.issue import IssueClassification, IssueType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from builder.inspection.sbom.bill import Bill, Part

_SOURCE = "mkstage1:source"
"""Name of the property that says what a component was made from."""


def render(bill: Bill) -> str:
    """The bill as JSON, the same for the same image."""
    image = Component(
        name=bill.name,
        version=bill.version,
        type=ComponentType.CONTAINER,
        bom_ref="image",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=bill.sha256)],
        properties=[Property(name="appc:imageID", value=bill.image_id), Property(name="appc:arch", value=bill.arch)],
    )
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, bill.image_id),
        components=[*map(_component, bill.parts), *_files(bill)],
        metadata=BomMetaData(component=image, timestamp=datetime.fromtimestamp(bill.time, UTC)),
    )
    bom.register_dependency(image, [component for component in bom.components if component.bom_ref.value])
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def package_url(part: Part) -> PackageURL:
    """The package URL of a part."""
    if part.kind == "deb":
        return PackageURL("deb", "debian", part.name, part.version, {"arch": part.arch})
    return PackageURL(part.kind, None, part.name, part.version or None)


def _component(part: Part) -> Component:
    url = package_url(part)
    patches = [
        Patch(
            type=PatchClassification.UNOFFICIAL,
            resolves=[IssueType(type=IssueClassification.DEFECT, name=patch)],
        )
        for patch in part.patches
    ]
    return Component(
        name=part.name,
        version=part.version or None,
        type=ComponentType.OPERATING_SYSTEM if part.name == "linux" else ComponentType.LIBRARY,
        bom_ref=f"part-{part.name}",
        purl=url,
        licenses=list(_licenses(part)),
        properties=[Property(name=_SOURCE, value=part.source)] if part.source else [],
        pedigree=Pedigree(patches=patches) if patches else None,
    )


def _licenses(part: Part) -> Iterator[DisjunctiveLicense | LicenseExpression]:
    if part.license_id:
        yield LicenseExpression(part.license_id)
    elif part.license_text:
        yield DisjunctiveLicense(name=f"copyright of {part.name}", text=AttachedText(content=part.license_text))


def _files(bill: Bill) -> Iterator[Component]:
    for number, file in enumerate(bill.files):
        hashes = [
            HashType(alg=HashAlgorithm.SHA_1, content=file.sha1),
            HashType(alg=HashAlgorithm.SHA_256, content=file.sha256),
        ]
        yield Component(name=file.path, type=ComponentType.FILE, bom_ref=f"file-{number}", hashes=hashes)
