"""What the launcher learns of a kernel."""

import json
from pathlib import Path

import pytest

from builder.components.kernel import config_check, features
from stage1.host.paths import Tree
from stage1.pod.features import feature


@pytest.mark.parametrize(
    ("config", "patches"),
    [
        ("CONFIG_NET=y\n# CONFIG_JUMP_LABEL is not set\n", False),
        ("CONFIG_JUMP_LABEL=y\n", True),
        ("CONFIG_HAVE_KPROBES=y\nCONFIG_HAVE_DYNAMIC_FTRACE=y\n", False),
        ("CONFIG_FTRACE=y\nCONFIG_DYNAMIC_FTRACE=y\n", True),
    ],
)
def test_options_that_change_the_kernels_code(tmp_path: Path, config: str, patches: bool) -> None:
    (tmp_path / ".config").write_text(config)
    assert features.patches_itself(config_check.read_config(tmp_path / ".config")) is patches


@pytest.mark.parametrize("patches", [True, False])
def test_the_launcher_reads_what_the_build_writes(tmp_path: Path, patches: bool) -> None:
    file = tmp_path / "image" / features.FEATURES_PATH
    file.parent.mkdir(parents=True)
    features.write(tmp_path, patches=patches)
    (tmp_path / features.FEATURES).rename(file)
    assert feature(Tree(str(tmp_path / "image")), features.FEATURES_PATH, "patches_itself") is patches
    assert json.loads(file.read_text()) == {"patches_itself": patches}
