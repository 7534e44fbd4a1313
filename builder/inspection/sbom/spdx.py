"""A bill as SPDX 2.3 (ISO/IEC 5962 in its next version), written by the project's own library."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import UTC, datetime

from license_expression import get_spdx_licensing
from spdx_tools.spdx.model.actor import Actor, ActorType
from spdx_tools.spdx.model.checksum import Checksum, ChecksumAlgorithm
from spdx_tools.spdx.model.document import CreationInfo, Document
from spdx_tools.spdx.model.extracted_licensing_info import ExtractedLicensingInfo
from spdx_tools.spdx.model.file import File
from spdx_tools.spdx.model.package import (
    ExternalPackageRef,
    ExternalPackageRefCategory,
    Package,
    PackagePurpose,
)
from spdx_tools.spdx.model.relationship import Relationship, RelationshipType
from spdx_tools.spdx.model.spdx_no_assertion import SpdxNoAssertion
from spdx_tools.spdx.spdx_element_utils import calculate_package_verification_code
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
from spdx_tools.spdx.writer.json.json_writer import write_document_to_stream

from builder.inspection.sbom.bill import Bill, Part
from builder.inspection.sbom.cyclonedx import package_url
from common.errors import UserError
from common.version import VERSION

_DOCUMENT = "SPDXRef-DOCUMENT"
_IMAGE = "SPDXRef-image"
_NAMESPACE = "https://spdx.org/spdxdocs"


def render(bill: Bill) -> str:
    """The bill as JSON, the same for the same image. Raises `UserError` for what the format does not allow."""
    document = _document(bill)
    messages = validate_full_spdx_document(document)
    if messages:
        raise UserError(f"the bill is not valid SPDX: {messages[0].validation_message[:200]}")
    stream = io.StringIO()
    write_document_to_stream(document, stream, validate=False)
    return stream.getvalue() + "\n"


def _document(bill: Bill) -> Document:
    digest = bill.image_id.partition("-")[2][:64]
    info = CreationInfo(
        spdx_version="SPDX-2.3",
        spdx_id=_DOCUMENT,
        name=f"{bill.name}:{bill.version}",
        document_namespace=f"{_NAMESPACE}/{bill.name.rpartition('/')[2]}-{digest}",
        creators=[Actor(ActorType.TOOL, f"mkstage1-{VERSION.replace('+', '-')}")],
        created=datetime.fromtimestamp(bill.time, UTC).replace(tzinfo=None),
    )
    files = [_file(number, file.path, file.sha1, file.sha256) for number, file in enumerate(bill.files)]
    image = Package(
        spdx_id=_IMAGE,
        name=bill.name,
        version=bill.version,
        download_location=SpdxNoAssertion(),
        verification_code=calculate_package_verification_code(files),
        checksums=[Checksum(ChecksumAlgorithm.SHA256, bill.sha256)],
        comment=f"image ID {bill.image_id}, for {bill.arch}",
        primary_package_purpose=PackagePurpose.CONTAINER,
    )
    packages = [_package(part) for part in bill.parts]
    patches = [(part, _patch(part, name)) for part in bill.parts for name in part.patches]
    contained = [one.spdx_id for one in packages] + [one.spdx_id for one in files]
    return Document(
        info,
        packages=[image, *packages, *(patch for _, patch in patches)],
        files=files,
        relationships=[
            Relationship(_DOCUMENT, RelationshipType.DESCRIBES, _IMAGE),
            *(Relationship(_IMAGE, RelationshipType.CONTAINS, one) for one in contained),
            *(Relationship(patch.spdx_id, RelationshipType.PATCH_APPLIED, _id(part.name)) for part, patch in patches),
        ],
        extracted_licensing_info=list(_texts(bill)),
    )


def _id(*words: str) -> str:
    return "SPDXRef-" + "-".join(re.sub(r"[^A-Za-z0-9.]", "-", word) for word in ("part", *words))


def _license_ref(name: str) -> str:
    return "LicenseRef-" + re.sub(r"[^A-Za-z0-9.-]", "-", name)


def _package(part: Part) -> Package:
    expression = part.license_id or (_license_ref(part.name) if part.license_text else "")
    reference = ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", package_url(part).to_string())
    return Package(
        spdx_id=_id(part.name),
        name=part.name,
        version=part.version or None,
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        supplier=Actor(ActorType.ORGANIZATION, "Debian") if part.kind == "deb" else None,
        source_info=part.source or None,
        license_declared=get_spdx_licensing().parse(expression) if expression else SpdxNoAssertion(),
        external_references=[reference],
    )


def _patch(part: Part, name: str) -> Package:
    return Package(
        spdx_id=_id(part.name, name),
        name=name,
        download_location=SpdxNoAssertion(),
        files_analyzed=False,
        primary_package_purpose=PackagePurpose.SOURCE,
    )


def _file(number: int, path: str, sha1: str, sha256: str) -> File:
    checksums = [Checksum(ChecksumAlgorithm.SHA1, sha1), Checksum(ChecksumAlgorithm.SHA256, sha256)]
    return File(name=f"./{path}", spdx_id=f"SPDXRef-file-{number}", checksums=checksums)


def _texts(bill: Bill) -> Iterator[ExtractedLicensingInfo]:
    for part in bill.parts:
        if part.license_text and not part.license_id:
            yield ExtractedLicensingInfo(
                _license_ref(part.name), part.license_text, license_name=f"copyright of {part.name}"
            )
    for name, text in sorted(bill.licenses.items()):
        yield ExtractedLicensingInfo(_license_ref(f"common-{name}"), text, license_name=name)
