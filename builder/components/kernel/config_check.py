"""The check that every option asked for is in the final configuration, with the reason where one is not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.engine.graph import StepContext
from builder.model.kernel_fragments import Setting
from common.errors import UserError

_DEFINITION = re.compile(r"^\s*(?:menu)?config\s+(\w+)\s*$", re.ASCII | re.MULTILINE)
_SET = re.compile(r"CONFIG_(\w+)=(.*)", re.ASCII)
_NEAR_MATCHES = 3


@dataclass(frozen=True)
class Explanation:
    """What a kernel's configuration library says about one option."""

    known: bool
    prompt: bool
    """A person can set it; otherwise it follows from other options."""
    unmet: str
    """The part of its dependencies that is not fulfilled, with the values: "MISC_FILESYSTEMS [=n]"."""
    selectors: str
    """The options that switch it on by themselves: "KVM_GUEST [=y]"."""


def known_symbols(tree: Path) -> frozenset[str]:
    """The names that the Kconfig files of a source tree define, for all architectures."""
    names: set[str] = set()
    for path in tree.rglob("Kconfig*"):
        if path.is_file():
            names.update(_DEFINITION.findall(path.read_text(errors="replace")))
    return frozenset(names)


def check_known(settings: Iterable[Setting], known: frozenset[str]) -> None:
    """Raise `UserError` that names every option that the kernel does not have, with names that look like it.

    One that is to be off is not exempt: it may be misspelled.
    """
    problems = []
    for setting in settings:
        if setting.symbol not in known:
            near = difflib.get_close_matches(setting.symbol, known, _NEAR_MATCHES, 0.75)
            like = f", did you mean {' or '.join(near)}?" if near else ""
            problems.append(f"{setting.where}: {setting.symbol} is unknown to this kernel{like}")
    if problems:
        raise UserError("; ".join(problems), hint="correct or remove these options")


def read_config(path: Path) -> dict[str, str]:
    """The options of a `.config` that are set, as in `Setting.value`. One that is off is absent."""
    return {found[1]: found[2] for line in path.read_text().splitlines() if (found := _SET.fullmatch(line))}


def lost(settings: Iterable[Setting], final: Mapping[str, str]) -> tuple[Setting, ...]:
    """The settings that the final configuration does not have as they were asked for."""
    return tuple(item for item in settings if _comparable(final.get(item.symbol, "n")) != _comparable(item.value))


def _comparable(value: str) -> str:
    return str(int(value, 0)) if value.lower().startswith("0x") else value


def refuse_lost(missing: Sequence[Setting], final: Mapping[str, str], explanations: Mapping[str, Explanation]) -> None:
    """Raise `UserError` that names every lost option, where it was asked for, and why it did not come out."""
    if not missing:
        return
    raise UserError(
        "the kernel's configuration does not keep what was asked for: "
        + "; ".join(
            f"{item.where}: {item.symbol} is {final.get(item.symbol, 'n')}, not {item.value}"
            f" ({_reason(item, explanations.get(item.symbol))})"
            for item in missing
        ),
        hint="add what is needed to a fragment, or remove the option",
    )


def _reason(setting: Setting, explanation: Explanation | None) -> str:
    if explanation is None or not explanation.known:
        return "another architecture's, or its dependencies are not met"
    if setting.value == "n" and explanation.selectors:
        return f"selected by {explanation.selectors}"
    if explanation.unmet:
        return f"needs {explanation.unmet}"
    if not explanation.prompt:
        return "cannot be set, other options switch it on"
    return "another option of the same group is set, or the value is out of its range"


def explain(symbols: Sequence[str], tree: Path, objects: Path, ctx: StepContext) -> dict[str, Explanation]:
    """Ask the kernel's own configuration library about options, given the `.config` in `objects`.

    Its objects must be there already, as after any `make ...config`. Options that a library of an unforeseen
    version does not answer for are absent from the result.
    """
    scripts = objects / "scripts" / "kconfig"
    program = scripts / "explain"
    library = sorted(path for path in scripts.glob("*.o") if path.name != "conf.o")
    includes = [f"-I{tree / folder}" for folder in ("scripts/kconfig", "scripts/include")]
    source = Path(__file__).with_name("explain.c")
    compiled = ctx.execute(["gcc", "-O1", *includes, "-o", program, source, *library], check=False)
    if not program.exists():
        ctx.detail(f"cannot ask the kernel why: {compiled}")
        return {}
    output = ctx.execute(
        ["make", "-s", "-C", tree, f"O={objects}", "config-prog=explain", "config"],
        env={"EXPLAIN_SYMBOLS": " ".join(symbols)},
        check=False,
    )
    found = {}
    for line in output.splitlines():
        fields = line.split("\t")
        if fields[0] == "EXPLAIN" and len(fields) == 6:
            found[fields[1]] = Explanation(fields[3] != "unknown", fields[3] == "choice", fields[4], fields[5])
    return found
