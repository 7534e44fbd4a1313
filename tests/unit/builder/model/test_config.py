from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from builder.model.config import (
    CONFIG_NAME,
    BuildConfig,
    Hypervisor,
    KernelOptions,
    Provision,
    Signer,
    SigningOptions,
    Stage1Options,
)
from builder.model.mirrors import Mirror
from common.errors import UserError


def full(builddir: Path) -> BuildConfig:
    config = BuildConfig(Path("/src"), builddir, arguments=("--x",))
    return dataclasses.replace(
        config,
        stage1=Stage1Options(hypervisors=(Hypervisor.LKVM,), flavors_path=(Path("/mine"),)),
        kernel=KernelOptions(Provision.PREBUILT, image=Path("/vmlinuz")),
        signing=SigningOptions(Signer.NONE),
        downloads=dataclasses.replace(config.downloads, mirrors=(Mirror("https://a/", "https://b/"),)),
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    config = full(tmp_path)
    assert config.save()
    assert BuildConfig.load(tmp_path) == config
    assert not config.save()


def test_what_is_not_configured(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not configured") as caught:
        BuildConfig.load(tmp_path)
    assert "./configure.py" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "another version"),
        ({"kernel": {}}, "kernel has other keys"),
        ({"more": 1}, "other keys: more"),
        ({"stage1": 1}, "stage1 is not an object"),
        ({"functional_tests": "yes"}, "functional_tests is not of the type bool"),
        ({"arguments": "x"}, "arguments is not an array"),
        (
            {"signing": {"signer": "me", "fingerprint": None, "gnupg_home": None, "passphrase_file": None}},
            "signing.signer",
        ),
    ],
)
def test_a_record_of_another_form_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    full(tmp_path).save()
    path = tmp_path / CONFIG_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        BuildConfig.load(tmp_path)
