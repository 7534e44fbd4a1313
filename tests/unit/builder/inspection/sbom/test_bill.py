"""Bills of materials: what they say, and that they are what the formats' own libraries take for valid."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from builder.commands.sbom import sbom
from builder.image.archive import write_aci
from builder.image.component_map import PACKAGES_PATH
from builder.inspection.sbom.bill import Bill, read_bill
from builder.model.config import Compression
from common.errors import UserError
from common.files import file_digest

EPOCH = 1767225600
MANIFEST = {
    "acKind": "ImageManifest",
    "acVersion": "0.8.11",
    "name": "example.com/stage1",
    "labels": [{"name": name, "value": value} for name, value in (("version", "1.2"), ("arch", "amd64"))],
}
PACKAGES = {
    "bash": {"version": "5.2.15-2+b13", "architecture": "amd64", "source": "bash"},
    "pxe-image": {"version": "v255", "architecture": "amd64", "source": "image.cpio.gz"},
}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An image of a package, of something that is none, and of a program of nobody's."""
    root = tmp_path / "root"
    files = {
        PACKAGES_PATH: json.dumps(PACKAGES),
        "usr/bin/bash": "#!",
        "usr/share/doc/bash/copyright": "Copyright: \u00a9 somebody\nLicense: GPL-3+\n",
        "usr/share/common-licenses/GPL-3": "GNU GENERAL PUBLIC LICENSE",
        "init": "#!/bin/sh\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    target = tmp_path / "bin/stage1.aci"
    target.parent.mkdir()
    write_aci(target, json.dumps(MANIFEST).encode(), [root], epoch=EPOCH, compression=Compression.GZIP)
    return target


def write_record(image: Path, path: Path, **changes: Any) -> Path:
    """The record of the build of an image, in which lkvm was patched, and of another one's kernel."""
    steps = {
        "aci": {"needs": ["lkvm", "userland"], "facts": {}},
        "userland": {"needs": [], "facts": {}},
        "lkvm": {"needs": [], "facts": {"revision": "b48735e", "patches": ["0001-quiet.patch", "0002-port.patch"]}},
        "kernel-compile-6.12": {"needs": [], "facts": {"patches": ["other.patch"]}},
    }
    products = {"stage1.aci": {"step": "aci", "size": 1, "sha256": file_digest(image)}}
    path.write_text(json.dumps({"steps": steps, "products": products} | changes))
    return path


def test_what_is_read(image: Path) -> None:
    write_record(image, image.with_name("build.json"))
    bill = read_bill(image)
    assert (bill.name, bill.version, bill.arch, bill.time) == ("example.com/stage1", "1.2", "amd64", EPOCH)
    assert [part.name for part in bill.parts] == ["bash", "lkvm", "mkstage1", "pxe-image"]
    bash, lkvm, _, pxe = bill.parts
    assert (bash.kind, bash.arch, bash.source) == ("deb", "amd64", "source package bash")
    assert "somebody" in bash.license_text
    assert (lkvm.version, lkvm.source) == ("b48735e", "revision b48735e")
    assert lkvm.patches == ("0001-quiet.patch", "0002-port.patch")
    assert (pxe.kind, pxe.license_text) == ("generic", "")
    assert [file.path for file in bill.files] == sorted(file.path for file in bill.files)
    assert "init" in [file.path for file in bill.files]
    assert dict(bill.licenses) == {"GPL-3": "GNU GENERAL PUBLIC LICENSE"}


def run(*words: str | Path) -> str:
    answer = CliRunner().invoke(sbom, list(map(str, words)), catch_exceptions=False)
    assert answer.exit_code == 0
    return answer.output


def test_spdx(image: Path, tmp_path: Path) -> None:
    # Here, because importing these libraries takes seconds.
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    write_record(image, image.with_name("build.json"))
    target = tmp_path / "image.spdx.json"
    run(image, "--output", target)
    document = parse_file(str(target))
    assert validate_full_spdx_document(document) == []
    packages = {package["name"]: package for package in json.loads(target.read_text())["packages"]}
    assert set(packages) == {
        "example.com/stage1",
        "bash",
        "lkvm",
        "mkstage1",
        "pxe-image",
        "0001-quiet.patch",
        "0002-port.patch",
    }
    (reference,) = packages["bash"]["externalRefs"]
    assert reference["referenceLocator"] == "pkg:deb/debian/bash@5.2.15-2%2Bb13?arch=amd64"
    assert packages["mkstage1"]["licenseDeclared"] == "Apache-2.0"
    assert run(image) == target.read_text()


def test_cyclonedx(image: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    write_record(image, image.with_name("build.json"))
    text = run(image, "--format=cyclonedx")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert bom["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": file_digest(image)}]
    parts = {component["name"]: component for component in bom["components"]}
    assert parts["bash"]["purl"] == "pkg:deb/debian/bash@5.2.15-2%2Bb13?arch=amd64"
    assert len(parts["lkvm"]["pedigree"]["patches"]) == 2
    assert {"usr/bin/bash", "init"} <= set(parts)
    assert run(image, "--format=cyclonedx") == text


def test_records_that_say_nothing_of_an_image(image: Path, tmp_path: Path) -> None:
    def lkvm(bill: Bill) -> bool:
        return any(part.name == "lkvm" for part in bill.parts)

    assert not lkvm(read_bill(image))
    other = write_record(image, tmp_path / "other.json", products={"x": {"step": "aci", "sha256": "1" * 64}})
    with pytest.raises(UserError, match="is not about this image"):
        read_bill(image, other)
    other.rename(image.with_name("build.json"))
    assert not lkvm(read_bill(image))
    for text in ("no JSON", "[]", '{"steps": {}}'):
        image.with_name("build.json").write_text(text)
        with pytest.raises(UserError, match="no record of a build"):
            read_bill(image)
    with pytest.raises(UserError, match="no record of a build"):
        read_bill(image, tmp_path / "missing.json")


def test_without_the_libraries(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "builder.inspection.sbom.spdx", None)
    with pytest.raises(UserError, match="is not installed") as caught:
        run(image)
    assert caught.value.hint == "run make sbom-tools"
