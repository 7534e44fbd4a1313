"""The steps that make the guest kernel: get its source, configure, check, compile."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from builder.components.kernel import config_check, features, kernel_org
from builder.components.kernel.spec import KernelSpec
from builder.debian.package_steps import kernel_source_step, load_packages
from builder.engine.graph import MACHINE, Step, StepContext
from builder.model import kernel_fragments, mirrors
from builder.model.architecture import Architecture
from builder.model.config import BuildConfig
from builder.model.kernel_fragments import Setting
from builder.model.lock import check_source, expected_digest
from builder.sources import download
from builder.sources.plain_directory import plain_directory
from builder.sources.tree import SourceKind, apply_patches, classify, place, unpack
from common.errors import UserError
from common.progress import Json, Progress
from common.removal import remove_tree

FACTS = "kernel.json"
"""In the output of the step that compiles: `{"version": "6.1.192", "symbols": 676}`, a count of options that are on."""

_COMPILERS = ("gcc", "ld")
_TOOLS = ("make", "gzip")
_OPTIONAL_TOOLS = {"PAHOLE": ("pahole", "DEBUG_INFO_BTF"), "RUSTC": ("rustc", "RUST")}
"""Programs whose versions kconfig asks for, and which get into the configuration, and so into the image, as they do:
variable of the kernel's Makefile -> the program and the option without which nothing runs it."""

_OBJECT_LINE = re.compile(r"\s+(?:CC|AS|HOSTCC|AR|LD) ")
_OBJECTS_PER_OPTION = 2.3
"""As observed; only the first guess of the progress bar."""


def steps(config: BuildConfig, machine: Architecture, spec: KernelSpec) -> tuple[Step, ...]:
    """The steps for one kernel.

    The output of the last, `spec.compile_step`: the architecture's `kernel_images` (`bzImage`, and `vmlinux`, stripped,
    with a PVH entry), `config`, `FACTS`, and `features.FEATURES`. Raises `UserError` at once for fragments that cannot
    be read or contradict each other.
    """
    merged = kernel_fragments.merge(*read_fragments(spec))
    options: dict[str, Json] = {setting.symbol: setting.value for setting in merged.settings}
    kind = _kind(spec)
    needs: tuple[str, ...] = ()
    files: tuple[Path, ...] = (config.srcdir / "kernel-configs" / "names.toml", *spec.patches)
    before: tuple[Step, ...] = ()
    if kind in {None, SourceKind.DOWNLOAD}:
        before = (_source_step(config, machine, spec),)
        needs = (spec.source_step,)
    else:
        files = (*files, Path(spec.src))
    compile_step = Step(
        task=spec.compile_step,
        label="KERNEL",
        summary=f"compile Linux {spec.version or spec.src}",
        run=partial(_compile, spec, _unused(options)),
        needs=needs,
        files=files,
        # Neither comments nor the place of an option in a file make a difference.
        params={"options": options},
        reads=(MACHINE,),
        machine=machine,
        tools=(
            *map(machine.tool, _COMPILERS),
            *_TOOLS,
            *(tool for name, (tool, _) in _OPTIONAL_TOOLS.items() if name not in _unused(options)),
        ),
        resumes=True,
        heavy=True,
    )
    return (*before, compile_step)


def _unused(options: Mapping[str, Json]) -> tuple[str, ...]:
    """The variables of the optional tools that a kernel with these options is made without."""
    return tuple(name for name, (_, option) in _OPTIONAL_TOOLS.items() if options.get(option) != "y")


def read_fragments(spec: KernelSpec) -> tuple[list[Setting], list[Setting]]:
    """The settings of the project, fragment by fragment, and those of flavors and the person."""
    ours = [setting for path in spec.ours for setting in kernel_fragments.read(path)]
    theirs = [setting for path in spec.theirs for setting in kernel_fragments.read(path)]
    return ours, theirs


def _kind(spec: KernelSpec) -> SourceKind | None:
    """What the kernel's source is; `None` for Debian's package."""
    if spec.package:
        return None
    kind = classify(spec.src)
    if kind is SourceKind.GIT:
        raise UserError(f"kernel source {spec.src}: not an archive", hint="give the https URL of a tar archive")
    return kind


def _source_step(config: BuildConfig, machine: Architecture, spec: KernelSpec) -> Step:
    """The step whose output is one source archive."""
    if spec.package:
        return Step(
            task=spec.source_step,
            label="SOURCE",
            summary=f"take Debian's source of Linux {spec.version}",
            run=partial(_take_debian_source, spec.package),
            needs=(kernel_source_step(spec.package),),
            params={"package": spec.package},
            reads=("debian.suite",),
            machine=machine,
        )
    return Step(
        task=spec.source_step,
        label="SOURCE",
        summary=f"download {spec.src}",
        run=partial(_download_source, spec.src),
        files=(kernel_org.keys_folder(config),),
        params={"url": spec.src, "locked": expected_digest(config, spec.src.partition("#")[0])},
        reads=("downloads.locked",),
        machine=machine,
    )


def _take_debian_source(name: str, ctx: StepContext) -> None:
    directory = ctx.inputs[kernel_source_step(name)]
    found = [package for package in load_packages(directory) if package.name == name]
    if not found:
        raise UserError(
            f"Debian {ctx.config.debian.suite} has no package {name}", hint="see --with-stage1-kernel-version"
        )
    ctx.execute(["dpkg-deb", "--extract", directory / found[0].file, ctx.scratch])
    archives = list((ctx.scratch / "usr" / "src").glob(f"{name}.tar.*"))
    if len(archives) != 1:
        raise UserError(f"{found[0].file} holds no source archive")
    shutil.move(archives[0], ctx.output / archives[0].name)
    (ctx.output / archives[0].name).chmod(0o644)
    ctx.record("package", f"{name} {found[0].version}")


def _download_source(location: str, ctx: StepContext) -> None:
    if ctx.config.downloads.offline:
        raise UserError(f"{location} is needed and the build is offline", hint="name a local archive instead")
    url, _, pin = location.partition("#sha256=")
    target = ctx.output / url.rpartition("/")[2]

    def attempt(place: str) -> str:
        if pin:
            digest = download.fetch(place, target, sha256=pin, progress=ctx.progress)
        else:
            digest = kernel_org.fetch_verified(place, target, ctx)
        check_source(ctx.config, url, f"sha256:{digest}")
        return digest

    ctx.record("sha256", mirrors.first_good(url, ctx.config.downloads.mirrors, attempt, ctx.notice))


def _compile(spec: KernelSpec, unused: tuple[str, ...], ctx: StepContext) -> None:
    environment = _environment(ctx, unused)
    with plain_directory(ctx.scratch) as work:
        tree = work / "linux"
        if not (work / "patches").exists():
            applied = _place_source(ctx, spec, tree)
            (work / "patches").write_text(json.dumps(applied))
        objects = tree / "objects"
        objects.mkdir(exist_ok=True)
        if not (work / "overrides").exists():
            overrides = _configure(ctx, spec, tree, objects, environment)
            (work / "overrides").write_text(json.dumps(overrides))
        _make_images(ctx, tree, objects, environment)
        _collect(ctx, objects)
        for key in ("patches", "overrides"):
            ctx.record(key, json.loads((work / key).read_text()))


def _place_source(ctx: StepContext, spec: KernelSpec, tree: Path) -> list[str]:
    """Make the tree, patched; return the names of the patches applied."""
    remove_tree(tree)
    if spec.source_step in ctx.inputs:
        (archive,) = ctx.inputs[spec.source_step].iterdir()
        unpack(archive, tree, ctx)
    else:
        place(spec.src, "", tree, ctx)
    if not (tree / "Kconfig").is_file() or not (tree / "scripts" / "kconfig").is_dir():
        raise UserError(f"{spec.src}: not the source of a kernel", hint="see --with-stage1-kernel-src")
    if (tree / ".config").exists() or (tree / "include" / "config").exists():
        ctx.detail("the source holds products of an earlier build: cleaning the copy")
        ctx.execute(["make", "-C", tree, "mrproper"])
    return apply_patches(tree, list(spec.patches), ctx)


def _configure(
    ctx: StepContext, spec: KernelSpec, tree: Path, objects: Path, environment: Mapping[str, str]
) -> list[str]:
    """Write `.config`, check that it is what the fragments ask for, and return the options that a person overrode."""
    names = kernel_fragments.Names.load(ctx.config.srcdir / "kernel-configs" / "names.toml")
    known = config_check.known_symbols(tree)
    translated = [kernel_fragments.translate(settings, known, names) for settings in read_fragments(spec)]
    for _, notes in translated:
        for note in notes:
            ctx.detail(note)
    merged = kernel_fragments.merge(*(settings for settings, _ in translated))
    settings = merged.settings
    for override in merged.overrides:
        ctx.notice(f"{override.theirs.where}: {override.theirs.text} replaces {override.ours.text}")
    config_check.check_known(settings, known)
    ctx.execute(
        ["sh", "scripts/kconfig/merge_config.sh", "-n", "-O", objects, *_write_fragments(settings, objects)],
        cwd=tree,
        env=environment,
    )
    final = config_check.read_config(objects / ".config")
    missing = config_check.lost(settings, final)
    if missing:
        reasons = config_check.explain([setting.symbol for setting in missing], tree, objects, ctx)
        config_check.refuse_lost(missing, final, reasons)
    return [override.theirs.text for override in merged.overrides]


def _write_fragments(settings: Sequence[Setting], objects: Path) -> list[Path]:
    """The fragments again, with this kernel's names and each option once, for the kernel's script.

    Their own names may hold what that script cannot bear, such as spaces.
    """
    texts: dict[Path, list[str]] = {}
    for setting in settings:
        texts.setdefault(setting.fragment, []).append(setting.text)
    folder = objects / "fragments"
    folder.mkdir(exist_ok=True)
    written = []
    for number, (fragment, lines) in enumerate(texts.items()):
        path = folder / f"{number:02}-{re.sub(r'[^A-Za-z0-9.-]', '_', fragment.name)}"
        path.write_text("\n".join(lines) + "\n")
        written.append(path)
    return written


def _environment(ctx: StepContext, unused: tuple[str, ...]) -> dict[str, str]:
    """What makes two builds the same, wherever and whenever they run, and whatever else is installed there."""
    machine = ctx.machine
    stamp = time.strftime("%a %b %d %H:%M:%S UTC %Y", time.gmtime(ctx.epoch))
    return {
        "ARCH": machine.kernel_make,
        **({"CROSS_COMPILE": machine.cross_prefix} if machine.is_foreign else {}),
        "KBUILD_BUILD_TIMESTAMP": stamp,
        "KBUILD_BUILD_USER": "mkstage1",
        "KBUILD_BUILD_HOST": "mkstage1",
        "KBUILD_BUILD_VERSION": "1",
        "SOURCE_DATE_EPOCH": str(ctx.epoch),
        "MAKEFLAGS": " ".join(f"{name}=absent" for name in unused),
    }


def _make_images(ctx: StepContext, tree: Path, objects: Path, environment: Mapping[str, str]) -> None:
    """Compile. `objects` lies in `tree`, so the compiler sees relative names only; the map is for what else it sees."""
    launcher = ctx.config.compiler_launcher
    machine = ctx.machine
    compiler = [f"CC={launcher} {machine.tool('gcc')}"] if launcher else []
    flags = f"-ffile-prefix-map={tree}=. -ffile-prefix-map={objects}=."
    total = int(len(config_check.read_config(objects / ".config")) * _OBJECTS_PER_OPTION)
    with ctx.progress(total, "objects") as bar:
        counter = _Counter(bar, total)
        ctx.execute(
            [
                "make",
                "-C",
                tree,
                f"O={objects}",
                f"-j{ctx.jobs}",
                *compiler,
                f"KCFLAGS={flags}",
                *machine.kernel_images,
            ],
            env={**environment} | ({"CCACHE_BASEDIR": str(tree), "CCACHE_NOHASHDIR": "1"} if launcher else {}),
            on_line=counter.line,
        )
        bar.grow(counter.seen)


class _Counter:
    """Counts the objects that make names; says in time when there are more than expected."""

    def __init__(self, bar: Progress, total: int) -> None:
        self._bar = bar
        self._total = total
        self.seen = 0

    def line(self, text: str) -> None:
        if _OBJECT_LINE.match(text) is None:
            return
        self.seen += 1
        if self.seen >= self._total:
            self._total += max(1, self._total // 20)
            self._bar.grow(self._total)
        self._bar.advance()


def _collect(ctx: StepContext, objects: Path) -> None:
    machine = ctx.machine
    for name, file in machine.kernel_images.items():
        if name == "vmlinux":
            ctx.execute([machine.tool("strip"), "--strip-all", "-o", ctx.output / name, objects / file])
        else:
            shutil.copyfile(objects / file, ctx.output / name)
    shutil.copyfile(objects / ".config", ctx.output / "config")
    options = config_check.read_config(objects / ".config")
    facts: dict[str, Json] = {
        "version": (objects / "include" / "config" / "kernel.release").read_text().strip(),
        "symbols": sum(value in {"y", "m"} for value in options.values()),
    }
    features.write(ctx.output, patches=features.patches_itself(options))
    (ctx.output / FACTS).write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")
    for path in ctx.output.iterdir():
        path.chmod(0o644)
    for key, value in facts.items():
        ctx.record(key, value)
