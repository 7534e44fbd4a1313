from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from builder.components.kernel import config_check
from builder.components.kernel.config_check import Explanation
from builder.model.kernel_fragments import Names, Setting, read, translate
from builder.sources.tree import place
from common.errors import UserError
from tests.support.step_context import NO_STEP, PlainContext
from tests.unit.builder.synthetic import PROJECT, make_config

CONFIG = """\
CONFIG_NET=y
CONFIG_OVERLAY_FS=m
# CONFIG_ACPI is not set
CONFIG_NR_CPUS=256
CONFIG_HEX=0x10
CONFIG_NAME="rkt"
CONFIG_NR=8
"""


def setting(symbol: str, value: str, line: int = 1) -> Setting:
    return Setting(symbol, value, Path("net.config"), line)


@pytest.fixture
def final(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".config").write_text(CONFIG)
    return config_check.read_config(tmp_path / ".config")


@pytest.mark.parametrize(
    ("symbol", "value", "kept"),
    [
        ("NET", "y", True),
        ("NET", "m", False),
        ("NET", "n", False),
        ("OVERLAY_FS", "m", True),
        ("OVERLAY_FS", "y", False),
        ("ACPI", "n", True),
        ("ACPI", "y", False),
        ("ABSENT", "n", True),
        ("ABSENT", "y", False),
        ("NR_CPUS", "256", True),
        ("NR_CPUS", "25", False),
        ("NR", "8", True),
        ("HEX", "0x10", True),
        ("HEX", "0x11", False),
        ("NAME", '"rkt"', True),
        ("NAME", '"rk"', False),
    ],
)
def test_whether_an_option_was_kept(final: dict[str, str], symbol: str, value: str, kept: bool) -> None:
    item = setting(symbol, value)
    assert config_check.lost([item], final) == (() if kept else (item,))


def test_all_lost_options_are_named_at_once(final: dict[str, str]) -> None:
    missing = [setting("ACPI", "y", 3), setting("NET", "n", 4), setting("A", "y"), setting("B", "y"), setting("C", "y")]
    explanations = {
        "ACPI": Explanation(True, True, "PM [=n]", ""),
        "NET": Explanation(True, True, "", "WIRELESS [=y]"),
        "A": Explanation(True, False, "", ""),
        "B": Explanation(False, False, "", ""),
    }
    with pytest.raises(UserError) as caught:
        config_check.refuse_lost(missing, final, explanations)
    for part in (
        "net.config:3: ACPI is n, not y (needs PM [=n])",
        "net.config:4: NET is y, not n (selected by WIRELESS [=y])",
        "A is n, not y (cannot be set, other options switch it on)",
        "B is n, not y (another architecture's",
        "C is n, not y (another architecture's",
    ):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_lost_is_no_error(final: dict[str, str]) -> None:
    config_check.refuse_lost([], final, {})


def test_names_are_found_in_all_kconfig_files(tmp_path: Path) -> None:
    (tmp_path / "fs").mkdir()
    (tmp_path / "Kconfig").write_text('menuconfig NET\n\tbool "Networking"\nconfig 64BIT\n  help\n   configure it\n')
    (tmp_path / "fs/Kconfig.binfmt").write_text("  config BINFMT_ELF\n")
    (tmp_path / "fs/notes").write_text("config NOT_ONE\n")
    assert config_check.known_symbols(tmp_path) == {"NET", "64BIT", "BINFMT_ELF"}


def test_unknown_names_are_all_named_with_likely_ones() -> None:
    known = frozenset({"OVERLAY_FS", "NET_9P_VIRTIO", "SQUASHFS"})
    with pytest.raises(UserError) as caught:
        config_check.check_known(
            [setting("OVERLAYFS", "y"), setting("NET_9P_VIRTIO", "y"), setting("ZZZ", "n", 7), setting("SQASHFS", "n")],
            known,
        )
    message = str(caught.value)
    assert "net.config:1: OVERLAYFS is unknown to this kernel, did you mean OVERLAY_FS?" in message
    assert "net.config:7: ZZZ is unknown to this kernel;" in message
    assert "did you mean SQUASHFS?" in message
    assert "NET_9P_VIRTIO" not in message


@pytest.fixture(scope="module")
def kernel_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real kernel's source: a tree or an archive that KERNEL_SRC names, or the archive of a Debian package."""
    archives = sorted(Path("/usr/src").glob("linux-source-*.tar.*"))
    location = os.environ.get("KERNEL_SRC") or (str(archives[-1]) if archives else "")
    if not location:
        pytest.skip("needs the source of a kernel: install linux-source, or set KERNEL_SRC")
    root = tmp_path_factory.mktemp("kernel")
    if Path(location).is_dir():
        return Path(location)
    place(location, "", root / "linux", PlainContext(root, make_config(root), NO_STEP))
    return root / "linux"


@pytest.mark.slow
def test_a_real_kernel_knows_the_projects_options_and_says_why_others_are_lost(
    kernel_tree: Path, tmp_path: Path
) -> None:
    known = config_check.known_symbols(kernel_tree)
    names = Names.load(PROJECT / "kernel-configs" / "names.toml")
    folders = (PROJECT / "kernel-configs" / name for name in ("common", "amd64"))
    ours = [item for folder in folders for path in sorted(folder.glob("*.config")) for item in read(path)]
    settings, _ = translate(ours, known, names)
    config_check.check_known(settings, known)
    extra = [setting(symbol, "y", line) for line, symbol in enumerate(("SQUASHFS", "BPF_JIT", "PARAVIRT_CLOCK"), 1)]
    extra += [setting("HVC_DRIVER", "n", 4), setting("SND_PCM", "y", 5)]
    objects = tmp_path / "objects"
    objects.mkdir()
    asked = objects / "asked"
    asked.write_text("\n".join(item.text for item in (*settings, *extra)) + "\n")
    subprocess.run(
        ["make", "-C", kernel_tree, f"O={objects}", f"KCONFIG_ALLCONFIG={asked}", "allnoconfig"],
        check=True,
        capture_output=True,
    )
    final = config_check.read_config(objects / ".config")
    missing = config_check.lost((*settings, *extra), final)
    assert {item.symbol for item in missing} == {"SQUASHFS", "BPF_JIT", "HVC_DRIVER", "SND_PCM"}
    context = PlainContext(tmp_path / "step", make_config(tmp_path), NO_STEP)
    explanations = config_check.explain([item.symbol for item in missing] + ["NO_SUCH"], kernel_tree, objects, context)
    assert explanations["SQUASHFS"] == Explanation(True, True, "MISC_FILESYSTEMS [=n]", "")
    assert explanations["BPF_JIT"] == Explanation(True, True, "MODULES [=n]", "")
    assert explanations["HVC_DRIVER"].selectors == "VIRTIO_CONSOLE [=y]"
    assert not explanations["SND_PCM"].prompt
    assert not explanations["NO_SUCH"].known
    with pytest.raises(UserError, match=r"net\.config:1: SQUASHFS is n, not y \(needs MISC_FILESYSTEMS \[=n\]\)"):
        config_check.refuse_lost(missing, final, explanations)
