"""A small plan of steps that need no compiler; `python -m tests.unit.builder.synthetic` is `mkstage1` with it."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path

from builder.engine.build import build_steps
from builder.engine.console import Console, Verbosity
from builder.engine.graph import Graph, Plan, Product, Scope, Step, StepContext
from builder.engine.runner import Build
from builder.model.architecture import Architecture
from builder.model.architecture_files import load_architecture
from builder.model.config import BuildConfig
from common.progress import Json
from tests.support.spawner import Process, spawner

PROJECT = Path(__file__).resolve().parents[3]
EPOCH = 1000
_OBJECTS = 4


def make_config(root: Path, **changes: object) -> BuildConfig:
    """The record of `root/build`, with its cache in `root/cache` and its sources in `root/src`.

    `kernel_source="/linux"` changes a field of a part of the record, here `kernel.source`.
    """
    defaults: dict[str, object] = {
        "cache_directory": root / "cache",
        "stage1_architectures": ("amd64",),
        "downloads_lock_file": root / "src" / "stage1.lock",
    }
    config = altered(BuildConfig(root / "src", root / "build"), **defaults | changes)
    config.srcdir.mkdir(parents=True, exist_ok=True)
    config.builddir.mkdir(parents=True, exist_ok=True)
    return config


def altered(config: BuildConfig, **changes: object) -> BuildConfig:
    """A configuration with other values; names as those of `make_config`."""
    parts = [field.name for field in dataclasses.fields(BuildConfig)]
    for name, value in changes.items():
        part = next((part for part in parts if name.startswith(f"{part}_") and name not in parts), None)
        if part is None:
            config = dataclasses.replace(config, **{name: value})  # type: ignore[arg-type]
        else:
            inner = dataclasses.replace(getattr(config, part), **{name.removeprefix(f"{part}_"): value})
            config = dataclasses.replace(config, **{part: inner})
    return config


def machine_of(config: BuildConfig) -> Architecture:
    """The first architecture of a configuration."""
    return load_architecture(config.stage1.architectures[0])


def make_build(root: Path, verbosity: Verbosity = Verbosity.INFO) -> tuple[Build, io.StringIO]:
    """A build in `root`, and what it prints."""
    stream = io.StringIO()
    return Build(make_config(root), Console(verbosity, stream, stream), EPOCH), stream


def write(name: str, text: str) -> Callable[[StepContext], None]:
    """What a step does that writes one file."""

    def run(context: StepContext) -> None:
        (context.output / name).write_text(text)

    return run


def step(name: str, run: Callable[[StepContext], None] | None = None, **fields: object) -> Step:
    """A step that, by default, writes its name into the file `out`."""
    return Step(name, name.upper()[:6], f"make {name}", run or write("out", name), **fields)  # type: ignore[arg-type]


def prepare(root: Path, **params: Json) -> None:
    """Write sources and parameters of the synthetic plan."""
    (root / "src").mkdir(parents=True, exist_ok=True)
    (root / "src" / "source.txt").write_text("first line\nsecond line\n")
    (root / "params.json").write_text(json.dumps({"delay": 0, "version": "6.1"} | params))


def runs(root: Path) -> list[str]:
    """The names of the steps that ran to their end, in that order, over all builds."""
    journal = root / "journal"
    return journal.read_text().split() if journal.exists() else []


def expected_image(root: Path) -> str:
    """What `bin/image.aci` must hold."""
    first = (root / "src" / "source.txt").read_text().splitlines()[0]
    version = json.loads((root / "params.json").read_text())["version"]
    parts = [f"{number} {first}\n" for number in range(1, _OBJECTS + 1)]
    userland = hashlib.sha256("".join(f"file {number}\n" for number in range(50)).encode()).hexdigest()
    return f"{version}\n{''.join(parts)}{userland}\n"


def synthetic_plan(root: Path) -> Plan:
    """source -> compile -> strip -> image <- userland. `strip` keeps the first line of the source only."""
    params: Mapping[str, Json] = json.loads((root / "params.json").read_text())
    delay = str(params["delay"])

    def journal(context: StepContext) -> None:
        with (root / "journal").open("a") as stream:
            stream.write(f"{context.step.name}\n")

    def source(context: StepContext) -> None:
        text = (root / "src" / "source.txt").read_text()
        (context.output / "source.txt").write_text(text)
        journal(context)

    def compile_(context: StepContext) -> None:
        script = (
            'for n in $(seq "$3"); do [ -e "$2/$n.o" ] || { [ "$n" = 1 ] || sleep "$4"; '
            'while read -r l; do echo "$n $l"; done <"$1" >"$2/$n.tmp"; mv "$2/$n.tmp" "$2/$n.o"; }; echo "CC $n"; done'
        )
        text = context.inputs["source"] / "source.txt"
        with context.progress(_OBJECTS, "objects") as progress:
            context.execute(
                ["sh", "-c", script, "sh", text, context.scratch, str(_OBJECTS), delay],
                on_line=lambda _: progress.advance(),
            )
        for number in range(1, _OBJECTS + 1):
            content = (context.scratch / f"{number}.o").read_text()
            (context.output / f"{number}.o").write_text(content)
        context.record("kernel_version", params["version"])
        journal(context)

    def strip(context: StepContext) -> None:
        folder = context.inputs["compile"]
        lines = [(folder / f"{number}.o").read_text().splitlines()[0] for number in range(1, _OBJECTS + 1)]
        (context.output / "kernel").write_text("\n".join(lines) + "\n")
        journal(context)

    def userland(context: StepContext) -> None:
        for number in range(50):
            (context.output / f"{number:02}").write_text(f"file {number}\n")
            context.detail(f"file {number}")
        context.execute(["sleep", delay])
        journal(context)

    def image(context: StepContext) -> None:
        text = "".join(path.read_text() for path in sorted(context.inputs["userland"].iterdir()))
        kernel = (context.inputs["strip"] / "kernel").read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        (context.output / "image.aci").write_text(f"{params['version']}\n{kernel}{digest}\n")
        context.record("image_id", "sha512-0123")
        journal(context)

    steps = (
        step("source", source, files=(root / "src",)),
        step("compile", compile_, needs=("source",), heavy=True, resumes=True),
        step("strip", strip, needs=("compile",)),
        step("userland", userland, scope=Scope.BUILD),
        step("image", image, needs=("strip", "userland"), params={"version": params["version"]}),
    )
    return Plan(steps, (Product("image", "image.aci", "image.aci"), Product(name="latest.aci", link="image.aci")))


def build(root: Path, *names: str) -> str:
    """Build the synthetic plan; returns what was shown."""
    one, stream = make_build(root)
    build_steps(one, Graph(synthetic_plan(root)), names, 2)
    return stream.getvalue()


def start_synthetic(root: Path, *arguments: str, env: Mapping[str, str] | None = None, pipes: int = 2) -> Process:
    """`mkstage1` with the synthetic plan of `root`."""
    modules = (
        "builder.cli",
        "builder.engine.explain",
        "builder.engine.build_record",
        "builder.engine.graph_text",
        "tests.unit.builder.synthetic",
    )
    return spawner(*modules).start(
        "tests.unit.builder.synthetic:main",
        argv=["mkstage1", *arguments],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], "SYNTHETIC_ROOT": str(root), **(env or {})},
        pipes=pipes,
    )


def main() -> None:
    """`mkstage1` with the synthetic plan of the directory in the environment."""
    root = Path(os.environ["SYNTHETIC_ROOT"])
    module = types.ModuleType("builder.plan")
    module.plan = lambda config: synthetic_plan(root)  # type: ignore[attr-defined]
    sys.modules["builder.plan"] = module
    from builder import cli

    cli.main()


if __name__ == "__main__":
    # Under its own name: the code of a step is that of the module of its function.
    from tests.unit.builder import synthetic

    synthetic.main()
