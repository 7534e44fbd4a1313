from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from builder.commands.verify import verify
from builder.image.archive import ArchiveResult
from builder.inspection.image import read_image
from builder.inspection.verify import Outcome, verify_image, verify_signature
from builder.model.config import Compression
from common.errors import UserError
from tests.support.openpgp import export, gpg, make_key, need_gpg, scratch_home
from tests.support.tars import directory, entry, symlink, write

Pack = Callable[..., ArchiveResult]
Parts = list[tuple[tarfile.TarInfo, bytes]]

USER = "Release <release@example.com>"


@pytest.fixture
def parts(manifest: bytes) -> Parts:
    """The entries of a good image."""
    directories = ("rootfs", "rootfs/opt", "rootfs/opt/stage2", "rootfs/rkt", "rootfs/rkt/env", "rootfs/rkt/status")
    programs = ("init", "enter_kvm", "gc", "stop_kvm", "attach")
    return [
        entry("manifest", manifest),
        *(directory(name) for name in directories),
        *(entry(f"rootfs/{name}", b"#!/bin/sh\n") for name in programs),
    ]


def problems(path: Path) -> list[str]:
    return [detail for check in verify_image(read_image(path)) for detail in check.details]


def test_what_is_built_here_is_good(pack: Pack, tree: Path) -> None:
    for compression in Compression:
        checks = verify_image(read_image(pack(tree, compression=compression).path))
        assert {check.outcome for check in checks} == {Outcome.OK}
        assert [check.subject for check in checks] == ["layout", "schema", "entry points"]


def test_names_as_other_writers_store_them_are_understood(parts: Parts, tmp_path: Path) -> None:
    for info, _ in parts:
        info.name = f"./{info.name}"
    assert problems(write(tmp_path / "x.aci", directory("."), *parts)) == []


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (entry("/etc/passwd"), "'/etc/passwd' has an absolute name"),
        (entry("rootfs/../../etc/passwd"), "'rootfs/../../etc/passwd' leads out of the image with \"..\""),
        (entry("../x"), "'../x' leads out of the image"),
        (entry("rootfs/./x"), "is not in its shortest form"),
        (entry("rootfs//x"), "is not in its shortest form"),
        (entry("other"), "'other' is neither manifest nor in rootfs"),
        (entry("rootfsx/y"), "is neither manifest nor in rootfs"),
        (entry("manifest/x"), "is neither manifest nor in rootfs"),
        (entry("rootfs/new\nline"), "'rootfs/new\\nline' has a name that is not printable"),
        (entry("rootfs/init"), "'rootfs/init' is there twice"),
        (entry("manifest"), "'manifest' is there twice"),
        (entry("rootfs/x", uid=1000), "'rootfs/x' belongs to 1000:0, not to 0:0"),
        (entry("rootfs/x", type=tarfile.LNKTYPE, linkname="rootfs/none"), "is a hard link to 'rootfs/none', which"),
        (entry("rootfs/x", type=tarfile.LNKTYPE, linkname="/etc/shadow"), "is a hard link to '/etc/shadow', which"),
        (entry("rootfs/x", type=tarfile.LNKTYPE, linkname="rootfs/opt"), "is a hard link to 'rootfs/opt', which"),
        (entry("rootfs/init/x"), "'rootfs/init/x' lies below 'rootfs/init', which is no directory"),
        (entry("rootfs/opt/stage2/x"), "the directory /opt/stage2 is not empty"),
    ],
)
def test_bad_entries_are_named(
    extra: tuple[tarfile.TarInfo, bytes], message: str, parts: Parts, tmp_path: Path
) -> None:
    found = problems(write(tmp_path / "x.aci", *parts, extra))
    assert any(message in problem for problem in found), found
    assert all("\n" not in problem for problem in found)


@pytest.mark.parametrize("inner", ["passwd", "missing/passwd"])
@pytest.mark.parametrize("first", ["link", "file"])
def test_nothing_may_lie_below_a_symlink(inner: str, first: str, parts: Parts, tmp_path: Path) -> None:
    pair = [symlink("rootfs/link", "/etc"), entry(f"rootfs/link/{inner}")]
    found = problems(write(tmp_path / "x.aci", *parts, *(pair if first == "link" else reversed(pair))))
    assert found == [f"'rootfs/link/{inner}' lies below 'rootfs/link', which is no directory"]


@pytest.mark.parametrize(
    ("name", "replacement", "message"),
    [
        ("manifest", None, "manifest is missing"),
        ("rootfs", None, "rootfs is missing or of another type than directory"),
        ("rootfs/init", None, "coreos.com/rkt/stage1/run: the image has no '/init'"),
        ("rootfs/gc", entry("rootfs/gc", mode=0o644), "coreos.com/rkt/stage1/gc: '/gc' has mode 0644, not 0755"),
        ("rootfs/gc", symlink("rootfs/gc", "/bin/sh"), "coreos.com/rkt/stage1/gc: '/gc' is a symlink, not a file"),
        ("rootfs/stop_kvm", None, "coreos.com/rkt/stage1/stop: the image has no '/stop_kvm'"),
        ("rootfs/rkt/status", None, "the directory /rkt/status is missing"),
        ("rootfs/rkt/env", entry("rootfs/rkt/env"), "the directory /rkt/env is missing"),
    ],
)
def test_missing_and_wrong_parts_are_named(
    name: str, replacement: tuple[tarfile.TarInfo, bytes] | None, message: str, parts: Parts, tmp_path: Path
) -> None:
    kept = [part for part in parts if part[0].name != name] + ([replacement] if replacement else [])
    assert message in problems(write(tmp_path / "x.aci", *kept))


def _without(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    return manifest | {"annotations": [a for a in manifest["annotations"] if not a["name"].endswith(name)]}


def _with(manifest: dict[str, Any], name: str, value: str) -> dict[str, Any]:
    changed = _without(manifest, name)
    changed["annotations"].append({"name": f"coreos.com/rkt/stage1/{name}", "value": value})
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: _without(m, "/run"), "the annotation coreos.com/rkt/stage1/run is missing"),
        (lambda m: _with(m, "run", "init"), "coreos.com/rkt/stage1/run is 'init', not an absolute path"),
        (lambda m: _with(m, "run", "/../../bin/sh"), "coreos.com/rkt/stage1/run: the image has no '/../../bin/sh'"),
        (lambda m: _with(m, "interface-version", "six"), "interface-version is 'six', not a whole number"),
        (lambda m: m | {"app": {"exec": [], "user": "0", "group": "0"}}, "the manifest has app"),
        (lambda m: m | {"acVersion": "1.0.0"}, "manifest: acVersion: 1.0.0 has another major version"),
    ],
)
def test_bad_manifests_are_named(
    change: Callable[[dict[str, Any]], dict[str, Any]], message: str, manifest: bytes, parts: Parts, tmp_path: Path
) -> None:
    parts[0] = entry("manifest", json.dumps(change(json.loads(manifest))).encode())
    assert any(message in problem for problem in problems(write(tmp_path / "x.aci", *parts)))


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    need_gpg()
    with scratch_home() as path:
        yield path


@pytest.fixture(scope="module")
def release(home: Path) -> str:
    return make_key(home, USER)


@pytest.fixture
def image(pack: Pack, tree: Path) -> Path:
    return pack(tree).path


def armor(home: Path, key: str, image: Path) -> Path:
    signature = image.with_name(f"{image.name}.asc")
    gpg(home, "--armor", "--local-user", key, "--output", str(signature), "--detach-sign", str(image))
    return signature


def test_a_signature_beside_the_image_is_checked_with_the_key_beside_it(home: Path, release: str, image: Path) -> None:
    armor(home, release, image)
    export(home, release, image.with_name("any.pub.asc"))
    check = verify_signature(image, None, [])
    assert check.outcome is Outcome.OK
    assert f"by {release} ({USER}), key from any.pub.asc" in check.details[0]
    assert "compare the fingerprint" in check.details[0]


def test_a_signature_is_checked_with_the_keys_that_were_given(home: Path, release: str, image: Path) -> None:
    moved = armor(home, release, image).rename(image.with_name("elsewhere"))
    key = export(home, release, image.with_name("release"))
    check = verify_signature(image, moved, [key])
    assert (check.outcome, check.details) == (Outcome.OK, (f"by {release} ({USER}), key from release",))


def test_a_given_key_is_preferred_to_those_beside_the_image(home: Path, release: str, image: Path) -> None:
    other = make_key(home, "Other <other@example.com>")
    armor(home, other, image)
    export(home, other, image.with_name("stage1-development-key.pub.asc"))
    key = export(home, release, image.with_name("release"))
    check = verify_signature(image, None, [key])
    assert check.outcome is Outcome.FAILED
    assert f"unknown key, {other}" in check.details[0]


def test_a_bad_signature_fails(home: Path, release: str, image: Path) -> None:
    armor(home, release, image)
    export(home, release, image.with_name("any.pub.asc"))
    with image.open("ab") as file:
        file.write(bytes(512))
    result = CliRunner().invoke(verify, [str(image)])
    assert isinstance(result.exception, UserError)
    assert "does not fit the file" in str(result.exception)
    assert "layout        ok\n" in result.output
    assert "signature     failed" in result.output


def test_a_signature_that_cannot_be_checked_is_said_so(home: Path, release: str, image: Path) -> None:
    check = verify_signature(image, None, [])
    assert (check.outcome, check.details) == (Outcome.SKIPPED, (f"there is no {image}.asc",))
    armor(home, release, image)
    check = verify_signature(image, None, [])
    assert check.outcome is Outcome.SKIPPED
    assert "no public key" in check.details[0]


def test_what_was_asked_for_and_is_not_there_fails(home: Path, release: str, image: Path) -> None:
    key = export(home, release, image.with_name("release"))
    assert verify_signature(image, None, [key]).outcome is Outcome.FAILED
    assert verify_signature(image, image.with_name("nothing"), []).outcome is Outcome.FAILED
    signature = armor(home, release, image)
    assert verify_signature(image, signature, []).outcome is Outcome.FAILED
    assert verify_signature(image, signature, [image.with_name("nothing")]).outcome is Outcome.FAILED


def test_the_command_says_what_was_checked(image: Path) -> None:
    result = CliRunner().invoke(verify, [str(image)], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output == (
        f"layout        ok\nschema        ok\nentry points  ok\nsignature     not checked: there is no {image}.asc\n"
    )


def test_the_command_gives_json(image: Path) -> None:
    facts = json.loads(CliRunner().invoke(verify, [str(image), "--json"], catch_exceptions=False).output)
    assert facts["ok"] is True
    assert [check["outcome"] for check in facts["checks"]] == ["ok", "ok", "ok", "not checked"]


def test_many_problems_are_counted_and_the_first_is_the_error(tmp_path: Path) -> None:
    path = write(tmp_path / "x.aci", *(entry(f"wrong{number}") for number in range(8)))
    result = CliRunner().invoke(verify, [str(path)])
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == f"{path}: 'wrong0' is neither manifest nor in rootfs"
    assert result.exception.hint == "10 more above"
    assert "; and 5 more (--json has all)" in result.output
    as_object = CliRunner().invoke(verify, [str(path), "--json"])
    assert isinstance(as_object.exception, UserError)
    assert json.loads(as_object.output)["ok"] is False
