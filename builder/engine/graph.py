"""Steps: what a build is made of, and the graph in which they stand."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from builder.model.config_view import UndeclaredInputError, view
from common.errors import UserError
from common.progress import Json, Progress

MACHINE = "machine"
"""In `Step.reads`: the record of the architecture that the output is for."""


class Scope(Enum):
    """Where the output of a step may be used again."""

    SHARED = "shared"
    """In the cache, by every build with the same fingerprint."""
    BUILD = "build"
    """In its own build directory only (a resolution of package versions, a signature by a local key)."""


@dataclass(frozen=True)
class Step:
    """One node of the build graph. `run` fills an empty directory; nothing else of what it does may last.

    Its fingerprint is a SHA-256 over the name, `params`, the values of `reads`, the contents of `files`, the outputs
    of `needs`, the versions of `tools`, the build's epoch, and the code of `run`: its module with all that this
    imports (builder/engine/code.py).
    """

    task: str
    """Unique among the steps for one architecture, lower case with hyphens: "kernel-compile"."""
    label: str
    """Short and upper case, for the line that V=1 prints: "KERNEL"."""
    summary: str
    """What it does to what, for the same line: "compile Linux 6.1"."""
    run: Callable[[StepContext], None]
    needs: tuple[str, ...] = ()
    """Tasks of steps for the same architecture."""
    files: tuple[Path, ...] = ()
    """Files and directories it reads from outside the graph. A directory counts with all that it holds.

    Of a file, its content and whether it is executable count, and not its other permissions: set those in the output.
    """
    params: Mapping[str, Json] = field(default_factory=dict)
    reads: tuple[str, ...] = ()
    """Values of the configuration that `run` may read: ("debian.suite",). Reading another one is an error. `MACHINE`
    stands for the record of the architecture."""
    tools: tuple[str, ...] = ()
    """Programs whose version (`PROGRAM --version`, first line) makes the step run again: ("gcc", "ld")."""
    scope: Scope = Scope.SHARED
    resumes: bool = False
    """Keep the scratch directory of a run that did not end, for the next run with the same fingerprint."""
    heavy: bool = False
    """It uses all `jobs` by itself: no other heavy step runs beside it."""
    machine: Architecture | None = None
    """The architecture that the output is for; None for an output that is the same for all."""

    @property
    def name(self) -> str:
        """Unique among all steps: the task, and behind it the architecture where that is not this machine's.

        The cache keeps outputs by it: "kernel-compile-aarch64".
        """
        return step_name(self.task, self.machine)

    @property
    def needed(self) -> tuple[str, ...]:
        """The names of the steps in `needs`."""
        return tuple(step_name(task, self.machine) for task in self.needs)


def step_name(task: str, machine: Architecture | None) -> str:
    """The name of the step that does a task for an architecture."""
    return f"{task}-{machine.name}" if machine is not None and machine.is_foreign else task


@dataclass
class StepContext(ABC):
    """What a running step is given."""

    config: BuildConfig
    """The values that the step declares (`Step.reads`) and those that decide no output; others raise an error."""
    step: Step
    output: Path
    """Empty directory; what is in it when `run` returns is the step's output."""
    scratch: Path
    """Directory for intermediate files. Empty, unless the step `resumes`. Removed after success."""
    inputs: Mapping[str, Path]
    """The output directory of each task in `needs`. Read only."""
    jobs: int
    """How many processes the step may keep busy."""
    log: Path
    """File with everything that the step's programs print."""
    epoch: int
    """Seconds since 1970 for every time stamp that ends up in an output (SOURCE_DATE_EPOCH)."""
    facts: dict[str, Json] = field(default_factory=dict, kw_only=True)
    """What the step has recorded."""

    def __post_init__(self) -> None:
        self.config = view(self.config, self.step.reads, self.step.name)

    @property
    def machine(self) -> Architecture:
        """The architecture that the output is for. Raises an error where the step does not read `MACHINE`."""
        if MACHINE not in self.step.reads or self.step.machine is None:
            raise UndeclaredInputError(f"step {self.step.name} reads its architecture and does not declare it")
        return self.step.machine

    @abstractmethod
    def execute(
        self,
        argv: list[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
        check: bool = True,
    ) -> str:
        """`process.run` with its output in the log, shown as the verbosity asks."""

    @abstractmethod
    def progress(self, total: int | None, unit: str) -> AbstractContextManager[Progress]:
        """A progress bar under the step's label. `unit` is "B" for bytes (shown with prefixes) or a plural noun."""

    @abstractmethod
    def detail(self, text: str) -> None:
        """A line about a smaller step inside this one, shown from V=2 on and kept in the log."""

    @abstractmethod
    def notice(self, text: str) -> None:
        """A line that people should see at V=1: a patch that is already in, a fallback taken."""

    def record(self, key: str, value: Json) -> None:
        """Put a fact about what was built (a version, a count) into build.json. Kept with the cache entry."""
        self.facts[key] = value


@dataclass(frozen=True)
class Product:
    """A name under `bin/`: a file of a step's output or, with `link`, a symlink to another product.

    `Product("aci", "stage1.aci", "stage1-kvm-qemu.aci")`, `Product(name="stage1-kvm.aci", link="stage1-kvm-qemu.aci")`.
    """

    step: str = ""
    file: str = ""
    """Path of the file inside the step's output."""
    name: str = ""
    link: str = ""
    """Name of the product, no link itself, that a relative symlink points to; `step` and `file` are empty then."""


@dataclass(frozen=True)
class Plan:
    """What a build directory is to contain: all its steps, and which of their files people want."""

    steps: tuple[Step, ...]
    products: tuple[Product, ...] = ()


_NAME = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_HEAVY_WEIGHT = 10


class Graph:
    """The steps of a plan, checked: unique names, no unknown needs, no cycle. `ValueError` names what is wrong."""

    def __init__(self, plan: Plan) -> None:
        self.steps: dict[str, Step] = {}
        for step in plan.steps:
            if not _NAME.fullmatch(step.name):
                raise ValueError(f"step {step.name!r}: a name is lower case words joined by hyphens or dots")
            if step.name in self.steps:
                raise ValueError(f"two steps are named {step.name}")
            self.steps[step.name] = step
        for step in plan.steps:
            for need in step.needed:
                if need not in self.steps:
                    raise ValueError(f"step {step.name} needs {need}, which no step is")
        self.products = plan.products
        _check_products(plan.products, self.steps)
        self.order = self._sort()
        """Every step after those that it needs; otherwise as the plan gives them."""

    def _sort(self) -> tuple[Step, ...]:
        order: dict[str, Step] = {}
        path: list[str] = []

        def visit(name: str) -> None:
            if name in order:
                return
            if name in path:
                raise ValueError("steps need each other: " + " -> ".join([*path[path.index(name) :], name]))
            path.append(name)
            for need in self.steps[name].needed:
                visit(need)
            path.pop()
            order[name] = self.steps[name]

        for name in self.steps:
            visit(name)
        return tuple(order.values())

    def select(self, names: Iterable[str]) -> tuple[Step, ...]:
        """The named steps (none: all) and whatever they need, in order. Raises `UserError` for an unknown name."""
        wanted = set(names) or set(self.steps)
        for name in sorted(wanted - set(self.steps)):
            import difflib  # only where it is needed: every start of `make` pays for imports

            close = difflib.get_close_matches(name, self.steps, n=1)
            hint = f"did you mean {close[0]}?" if close else "`mkstage1 graph` lists the steps"
            raise UserError(f"there is no step named {name}", hint=hint)
        for step in reversed(self.order):
            if step.name in wanted:
                wanted.update(step.needed)
        return tuple(step for step in self.order if step.name in wanted)

    def ranks(self) -> dict[str, int]:
        """How much work waits behind each step, itself included: the higher, the earlier it should start."""
        ranks = {step.name: 0 for step in self.order}
        for step in reversed(self.order):
            ranks[step.name] += _HEAVY_WEIGHT if step.heavy else 1
            for need in step.needed:
                ranks[need] = max(ranks[need], ranks[step.name])
        return ranks


def _check_products(products: tuple[Product, ...], steps: Mapping[str, Step]) -> None:
    names = [product.name for product in products]
    files = {product.name for product in products if not product.link}
    for product in products:
        if product.name in ("", ".", "..") or "/" in product.name or names.count(product.name) > 1:
            raise ValueError(f"product {product.name!r}: the name of a file, and of one product only")
        if product.link:
            if product.step or product.file or product.link not in files:
                raise ValueError(
                    f"product {product.name}: a link names another product, no link itself, and nothing else"
                )
        elif product.step not in steps:
            raise ValueError(f"product {product.name} comes from {product.step!r}, which no step is")
        elif not product.file or product.file.startswith("/") or ".." in product.file.split("/"):
            raise ValueError(f"product {product.name}: {product.file!r} is no path inside an output")
