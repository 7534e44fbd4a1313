"""Properties of what reads quantities, kernel parameters, command lines and paths, against other ways to read them."""

import ctypes
import os
import struct
from errno import ENOSYS, EPERM
from fractions import Fraction
from math import ceil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stage1.commands.arguments import parse_run
from stage1.host.errors import UserError
from stage1.host.paths import AppRoot, Tree
from stage1.hypervisor.kernel_command_line import EXTRA_VARIABLE, kernel_command_line
from stage1.pod.resources import parse_quantity

UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"

FACTORS: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    **{name: Fraction(1000) ** power for power, name in enumerate("kMGTPE", 1)},
    **{f"{name}i": Fraction(1024) ** power for power, name in enumerate("KMGTPE", 1)},
    **{f"{letter}{power}": Fraction(10) ** power for letter in "eE" for power in range(-12, 13)},
    **{f"e+{power}": Fraction(10) ** power for power in range(13)},
}
"""What a suffix means (appc spec 0.8.11, which has them from Kubernetes)."""


def digits(text: str) -> Fraction:
    whole, _, rest = text.partition(".")
    return Fraction(int((whole + rest) or "0"), 10 ** len(rest))


NUMBERS = st.from_regex(r"[0-9]{1,19}(\.[0-9]{0,12})?|\.[0-9]{1,12}", fullmatch=True).filter(str.isascii)


@given(st.sampled_from(["", "+", "-"]), NUMBERS, st.sampled_from(sorted(FACTORS)))
def test_a_quantity_is_its_number_times_its_factor(sign: str, number: str, suffix: str) -> None:
    exact = digits(number) * FACTORS[suffix]
    text = f"{sign}{number}{suffix}"
    if (sign == "-" and exact) or ceil(exact * 1000) >= 1000 << 63:
        with pytest.raises(UserError):
            parse_quantity(text)
    else:
        assert parse_quantity(text) == ceil(exact * 1000)


@given(st.text(st.sampled_from("0123456789.+-eEinumkKMGTP \n_x٣")) | st.text())
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        value = parse_quantity(text)
    except UserError:
        return
    assert 0 <= value < 1000 << 63
    assert text.isascii() and text == text.strip() and any(character.isdigit() for character in text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)), st.booleans())
@example("", False)
@example("root=other init=/bin/sh -- x", True)
def test_extra_parameters_come_last_and_change_nothing_before(extra: str, debug: bool) -> None:
    plain = kernel_command_line(["reboot=t"], debug=debug, protect=True, environment={})
    try:
        line = kernel_command_line(["reboot=t"], debug=debug, protect=True, environment={EXTRA_VARIABLE: extra})
    except UserError:
        assert len(plain) + 1 + len(" ".join(extra.split())) > 2047
        return
    assert line.split(" ") == [*plain.split(" "), *extra.split()]
    assert len(line) <= 2047


@given(st.text())
def test_the_kernel_gets_one_line_of_ascii(extra: str) -> None:
    try:
        line = kernel_command_line([], debug=False, protect=True, environment={EXTRA_VARIABLE: extra})
    except UserError:
        return
    assert line.isascii() and line.isprintable()


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "net": st.sampled_from(["none", "default", "a,b:IP=10.0.0.1", "all"]),
        "hostname": st.from_regex(r"[a-z]{1,5}(\.[a-z0-9]{1,5})?", fullmatch=True),
        "mds-token": st.from_regex(r"[a-z0-9=-]{1,12}", fullmatch=True),
        "local-config": st.from_regex(r"/[a-z =-]{1,8}", fullmatch=True),
        "dns-conf-mode": st.sampled_from(["resolv=host", "resolv=none,hosts=stage0"]),
        "ipc": st.sampled_from(["auto", "private"]),
    },
)
SWITCHES = st.dictionaries(
    st.sampled_from(["debug", "interactive", "disable-capabilities-restriction", "disable-paths", "disable-seccomp"]),
    st.booleans(),
)


@given(VALUES, SWITCHES, st.data())
def test_every_way_to_write_a_command_line_means_the_same(
    values: dict[str, str], switches: dict[str, bool], data: st.DataObject
) -> None:
    plain = [f"--{name}={value}" for name, value in values.items()]
    plain += [f"--{name}={'true' if value else 'false'}" for name, value in switches.items()]
    other: list[str] = []
    for name in data.draw(st.permutations([*values, *switches])):
        dashes = data.draw(st.sampled_from(["-", "--"]))
        if name in values:
            joined = data.draw(st.booleans())
            other += [f"{dashes}{name}={values[name]}"] if joined else [f"{dashes}{name}", values[name]]
        else:
            spelled = ["1", "t", "T", "true", "TRUE", "True"] if switches[name] else ["0", "f", "F", "false", "FALSE"]
            word = data.draw(st.sampled_from(spelled))
            other.append(f"{dashes}{name}" if word == "t" else f"{dashes}{name}={word}")
    end = data.draw(st.sampled_from([[], ["--"]]))
    assert parse_run([*other, *end, UUID.upper()]) == parse_run([*plain, UUID])


@given(st.lists(st.text(st.sampled_from("-=adehnostuw,:;/\n\0é")) | st.text(), max_size=6))
def test_any_command_line_is_read_or_refused(words: list[str]) -> None:
    try:
        arguments = parse_run(words)
    except UserError:
        return
    assert arguments.uuid.isascii()


# What the kernel itself makes of a path in a root (openat2(2), RESOLVE_IN_ROOT).

_OPENAT2 = 437
_RESOLVE_IN_ROOT = 0x10
_libc = ctypes.CDLL(None, use_errno=True)

NODES = ("a", "b", "a/a", "a/b", "b/a", "a/a/a")
STEPS = st.sampled_from(["a", "b", "..", ".", "", "a/b", "../..", "/a", "missing"])
TARGETS = st.lists(STEPS, min_size=1, max_size=4).map("/".join).filter(bool)
TREES = st.dictionaries(st.sampled_from(NODES), st.one_of(st.just(None), st.just(""), TARGETS))
"""By name: None for a folder, empty for a file, otherwise the target of a link."""


def found_by_kernel(root: Path, path: str) -> tuple[int, int] | None:
    """Device and number of the file; None where there is none."""
    how = struct.pack("<QQQ", os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT)
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY)
    try:
        descriptor = _libc.syscall(_OPENAT2, directory, os.fsencode(path), how, len(how))
        if descriptor < 0 and ctypes.get_errno() in (ENOSYS, EPERM):
            pytest.skip("the kernel has no openat2")
        if descriptor < 0:
            return None
        status = os.fstat(descriptor)
        os.close(descriptor)
        return status.st_dev, status.st_ino
    finally:
        os.close(directory)


def found_by_us(root: AppRoot, path: str) -> tuple[int, int] | None:
    try:
        status = root.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def build(root: Path, tree: dict[str, str | None]) -> None:
    root.mkdir()
    for name in NODES:
        place = root / name
        if name not in tree or not place.parent.is_dir() or place.parent.is_symlink():
            continue
        target = tree[name]
        if target is None:
            place.mkdir()
        elif target:
            place.symlink_to(target)
        else:
            place.touch()


@given(TREES, st.lists(STEPS, min_size=1, max_size=6).map("/".join).filter(bool))
@example({"a": ""}, "a/.")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_paths_lead_where_the_kernel_says(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, str | None], path: str
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    build(folder / "root", tree)
    root = AppRoot(Tree(str(folder)), "root")
    assert found_by_us(root, path) == found_by_kernel(folder / "root", path)
