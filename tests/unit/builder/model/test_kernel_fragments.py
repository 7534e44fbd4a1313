from __future__ import annotations

from pathlib import Path

import pytest

from builder.model.architecture_files import all_architectures
from builder.model.kernel_fragments import Names, Setting, merge, read, translate
from common.errors import UserError

PROJECT = Path(__file__).resolve().parents[4]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_every_kind_of_line(tmp_path: Path) -> None:
    fragment = write(
        tmp_path / "a.config",
        "# Why.\n\nCONFIG_NET=y\n  CONFIG_A_2=m  \nCONFIG_9P_FS=n\n# CONFIG_OFF is not set\n#CONFIG_TIGHT is not set\n"
        'CONFIG_NR=256\nCONFIG_MINUS=-1\nCONFIG_HEX=0X1F\nCONFIG_TEXT="a \\"b\\" # c"\nCONFIG_EMPTY=""\n',
    )
    assert [(item.symbol, item.value, item.line) for item in read(fragment)] == [
        ("NET", "y", 3),
        ("A_2", "m", 4),
        ("9P_FS", "n", 5),
        ("OFF", "n", 6),
        ("TIGHT", "n", 7),
        ("NR", "256", 8),
        ("MINUS", "-1", 9),
        ("HEX", "0x1f", 10),
        ("TEXT", '"a \\"b\\" # c"', 11),
        ("EMPTY", '""', 12),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "CONFIG_X",
        "CONFIG_X=",
        "CONFIG_X = y",
        "CONFIG_X=yes",
        "CONFIG_X=Y",
        'CONFIG_X="open',
        "CONFIG_X=1 2",
        "X=y",
        "CONFIG_X-Y=y",
        "CONFIG_Ä=y",
        "# CONFIG_X=y",
        "# CONFIG_X is not Set",
        "CONFIG_X=y # why",
    ],
)
def test_a_line_that_is_no_option(tmp_path: Path, line: str) -> None:
    fragment = write(tmp_path / "a.config", f"CONFIG_OK=y\n{line}\n")
    with pytest.raises(UserError) as caught:
        read(fragment)
    assert str(caught.value).startswith(f"{fragment}:2: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, b"\xff\xfe"])
def test_a_fragment_that_cannot_be_read(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "a.config"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UserError, match=r"a\.config: cannot read"):
        read(path)


def setting(symbol: str, value: str, name: str = "ours.config", line: int = 1) -> Setting:
    return Setting(symbol, value, Path(name), line)


def test_every_contradiction_is_named_with_both_places() -> None:
    ours = [setting("A", "y"), setting("B", "n", line=2), setting("A", "n", "b.config", 3), setting("B", "y", line=9)]
    with pytest.raises(UserError) as caught:
        merge(ours)
    for part in (
        "ours.config:1 (CONFIG_A=y) and b.config:3 (# CONFIG_A is not set)",
        "ours.config:2 (# CONFIG_B is not set) and ours.config:9 (CONFIG_B=y)",
    ):
        assert part in str(caught.value)


def test_the_same_wish_twice_is_one() -> None:
    merged = merge([setting("A", "y"), setting("A", "y", "b.config")], [setting("A", "y", "c.config")])
    assert [item.symbol for item in merged.settings] == ["A"]
    assert merged.overrides == ()


def test_a_person_overrides_the_project_and_nobody_else() -> None:
    ours = [setting("A", "y"), setting("B", "y")]
    theirs = [setting("B", "n", "mine.config"), setting("C", "m", "mine.config")]
    merged = merge(ours, theirs)
    assert {item.symbol: item.value for item in merged.settings} == {"A": "y", "B": "n", "C": "m"}
    assert [(item.ours.where, item.theirs.where) for item in merged.overrides] == [("ours.config:1", "mine.config:1")]
    with pytest.raises(UserError, match=r"mine\.config:1 .* and other\.config:1"):
        merge(ours, [*theirs, setting("B", "m", "other.config")])


NAMES = Names({"OLD": "NEW", "OLDER": "NEW"}, {"GONE": "part of MEMCG"})


def test_old_names_in_a_new_kernel() -> None:
    settings, notes = translate([setting("OLD", "y"), setting("OLDER", "y", line=2)], frozenset({"NEW"}), NAMES)
    assert [(item.symbol, item.value, item.where) for item in settings] == [
        ("NEW", "y", "ours.config:1"),
        ("NEW", "y", "ours.config:2"),
    ]
    assert notes == ("ours.config:1: OLD is NEW in this kernel", "ours.config:2: OLDER is NEW in this kernel")


def test_new_names_in_an_old_kernel() -> None:
    settings, notes = translate([setting("NEW", "n")], frozenset({"OLD"}), Names({"OLD": "NEW"}, {}))
    assert [(item.symbol, item.value) for item in settings] == [("OLD", "n")]
    assert notes == ("ours.config:1: NEW is OLD in this kernel",)


def test_names_that_the_kernel_has_stay() -> None:
    settings, notes = translate([setting("OLD", "y"), setting("NEW", "n")], frozenset({"OLD", "NEW"}), NAMES)
    assert [(item.symbol, item.value) for item in settings] == [("OLD", "y"), ("NEW", "n")]
    assert notes == ()


def test_names_that_are_part_of_another() -> None:
    settings, notes = translate([setting("GONE", "y"), setting("ODD", "y")], frozenset({"NEW"}), NAMES)
    assert [item.symbol for item in settings] == ["ODD"]
    assert notes == ("ours.config:1: GONE is no option of this kernel: part of MEMCG",)


@pytest.mark.parametrize("arch", [one.name for one in all_architectures()])
def test_the_fragments_of_the_project_agree(arch: str) -> None:
    folders = (PROJECT / "kernel-configs" / name for name in ("common", arch))
    paths = [path for folder in folders for path in sorted(folder.glob("*.config"))]
    settings = [item for path in paths for item in read(path)]
    merged = merge(settings)
    wanted = {item.symbol: item.value for item in merged.settings}
    assert len(wanted) == len(settings)
    for symbol in (
        "9P_FS",
        "NET_9P_VIRTIO",
        "VIRTIO_CONSOLE",
        "CGROUP_PIDS",
        "OVERLAY_FS",
        "SECCOMP_FILTER",
        "IKCONFIG",
    ):
        assert wanted[symbol] == "y"
    for path in paths:
        assert path.read_text().startswith("# "), f"{path} does not say what it is for"


def test_the_names_of_the_project() -> None:
    names = Names.load(PROJECT / "kernel-configs" / "names.toml")
    assert names.renamed["AUTOFS4_FS"] == "AUTOFS_FS"
    assert not set(names.renamed) & set(names.merged)
    assert not set(names.renamed) & set(names.renamed.values())
