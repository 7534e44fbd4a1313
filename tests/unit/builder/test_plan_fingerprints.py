"""What an edit of the toolchain makes run again: every step that can reach the file, and no other.

`modulefinder` says, from the bytecode, which modules a step can reach; the toolchain itself reads syntax trees.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shutil
from collections.abc import Iterator
from modulefinder import ModuleFinder
from pathlib import Path

import pytest

from builder.engine.digest import StatCache
from builder.engine.fingerprint import Fingerprinter
from builder.engine.graph import Graph, Step
from builder.model.config import BuildConfig, Provision, Signer
from builder.plan import plan
from tests.unit.builder.flavors import write_flavor
from tests.unit.builder.synthetic import make_config

PROJECT = Path(__file__).parents[3]
COPIED = ("builder", "common", "stage0", "stage1", "flavors", "kernel-configs", "requirements")


def configurations(root: Path, source: Path) -> Iterator[BuildConfig]:
    """Configurations whose plans have every step that there is."""
    common = {"srcdir": source, "stage1_version": "1", "debian_suite": "bookworm", "kernel_versions": ("6.1",)}
    kvm = {
        "stage1_flavors": ("kvm", "coreos", "fly", "src", "host", "image"),
        "stage1_flavors_path": (root / "mine",),
        "stage1_hypervisors": ("lkvm", "qemu"),
        "lkvm_source": str(root / "mine"),
        "userland_pxe_image": "https://example.com/image",
        "userland_pxe_key": source / "requirements/build.txt",
        "userland_pxe_systemd_version": "v252",
    }
    yield make_config(root, **common | kvm)
    both = {"stage1_architectures": ("amd64", "aarch64"), "stage1_hypervisors": ("qemu",), "stage1_flavors": ("kvm",)}
    yield make_config(root, **common | both, kernel_source="https://cdn.kernel.org/linux-6.1.1.tar.xz")
    prebuilt = {"stage1_flavors": ("kvm",), "stage1_hypervisors": ("qemu",), "kernel_provision": Provision.PREBUILT}
    yield make_config(root, **common | prebuilt, qemu_provision=Provision.BUILD)
    own = {"lkvm_program": source / "requirements/build.txt", "signing_signer": Signer.NONE}
    yield make_config(root, **common | own, stage1_flavors=("kvm",), stage1_hypervisors=("lkvm",))


class Tree:
    """A copy of the source tree, and the steps of every configuration on it."""

    def __init__(self, root: Path) -> None:
        self.source = root / "source"
        for name in COPIED:
            shutil.copytree(PROJECT / name, self.source / name, ignore=shutil.ignore_patterns("__pycache__"))
        write_flavor(root / "mine", "image", 'summary = "x"\nextends = "coreos"\n[userland]\norigin = "coreos"\n')
        self.cache = StatCache(root / "stat-cache")
        self.configs = tuple(configurations(root, self.source))
        self.steps = tuple(
            (index, step) for index, config in enumerate(self.configs) for step in Graph(plan(config)).order
        )

        self.first_of_each_module: dict[str, tuple[int, Step]] = {}
        for index, step in self.steps:
            self.first_of_each_module.setdefault(module_of(step), (index, step))

    def fingerprints(self, *, whole: bool = False) -> dict[tuple[int, str], str]:
        """The fingerprint of each step, its needs aside.

        Unless `whole`, of the steps whose functions are of one module only the first, without its files and tools.
        """
        made = [Fingerprinter(self.cache, config, code_root=self.source, epoch=1) for config in self.configs]
        found = {}
        for index, step in self.steps if whole else self.first_of_each_module.values():
            item = step if whole else dataclasses.replace(step, files=(), tools=())
            found[index, step.name] = made[index].compute(item, dict.fromkeys(step.needed, "output")).value
        return found


def module_of(step: Step) -> str:
    run = step.run
    while isinstance(run, functools.partial):
        run = run.func
    return run.__module__


def reached(module: str, source: Path) -> frozenset[Path]:
    """The files of the toolchain that a function of a module can reach."""
    finder = ModuleFinder(path=[os.fspath(source)])
    pending = [source / f"{module.replace('.', '/')}.py"]
    found: set[Path] = set()
    while pending:
        path = pending.pop()
        if path in found:
            continue
        found.add(path)
        finder.load_file(os.fspath(path))
        finder.run_script(os.fspath(path))
        files = {Path(file) for known in finder.modules.values() if (file := getattr(known, "__file__", None))}
        found |= files
        for file in tuple(found):
            for beside in file.parent.iterdir():
                is_package = beside.is_dir() and (beside / "__init__.py").exists()
                named = f'"{beside.name}"' in file.read_text() if file.suffix == ".py" else False
                if named and not is_package and beside not in found:
                    (pending.append if beside.suffix == ".py" else found.add)(beside)
    # The packages around a module are executed before it.
    around = {parent / "__init__.py" for file in found for parent in file.parents if source in parent.parents}
    return frozenset(found | {file for file in around if file.exists()})


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(tmp_path_factory.mktemp("tree"))


@contextlib.contextmanager
def edited(path: Path, text: str) -> Iterator[None]:
    content = path.read_bytes()
    path.write_bytes(content + text.encode())
    yield
    path.write_bytes(content)


def changed(tree: Tree, path: Path, text: str, before: dict[tuple[int, str], str], *, whole: bool = False) -> set[str]:
    """The steps that an edit changes, as "configuration/step"."""
    with edited(path, text):
        after = tree.fingerprints(whole=whole)
    return {f"{index}/{name}" for index, name in before if before[index, name] != after[index, name]}


def files_of(tree: Tree) -> list[Path]:
    found = [path for name in ("builder", "common") for path in (tree.source / name).rglob("*")]
    return sorted(path for path in found if path.is_file())


def test_an_edit_changes_the_steps_that_reach_the_file_and_no_other(tree: Tree) -> None:
    before = tree.fingerprints()
    known = {
        f"{index}/{step.name}": reached(module, tree.source)
        for module, (index, step) in tree.first_of_each_module.items()
    }
    wrong = {}
    for path in files_of(tree):
        found = changed(tree, path, "\nEDITED = 1\n" if path.suffix == ".py" else "\n", before)
        expected = {key for key, files in known.items() if any(path == f or f in path.parents for f in files)}
        if found != expected:
            wrong[str(path.relative_to(tree.source))] = (sorted(found - expected)[:3], sorted(expected - found)[:3])
    assert wrong == {}
    assert tree.fingerprints() == before


def test_steps_of_one_module_have_the_same_code(tree: Tree) -> None:
    fingerprinter = Fingerprinter(tree.cache, tree.configs[0], code_root=tree.source, epoch=1)
    codes: dict[str, object] = {}
    for index, step in tree.steps:
        if index == 0:
            code = fingerprinter.compute(step, dict.fromkeys(step.needed, "output")).components["code"]
            assert codes.setdefault(module_of(step), code) == code


def test_comments_and_docstrings_change_no_step(tree: Tree) -> None:
    before = tree.fingerprints()
    text = '\n# A comment.\n\n"""A docstring."""\n'
    with contextlib.ExitStack() as stack:
        for path in files_of(tree):
            if path.suffix == ".py":
                stack.enter_context(edited(path, text))
        assert tree.fingerprints() == before


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("stage1/commands/run.py", {"launcher", "launcher-fly", "launcher-coreos"}),
        ("stage0/cli.py", {"rkt"}),
        ("stage1/guest/start.c", {"guest"}),
        ("flavors/kvm/units/agent.service.j2", {"flavor-kvm", "flavor-coreos", "flavor-src", "flavor-host"}),
        ("kernel-configs/names.toml", {"kernel-compile-6.1"}),
        ("builder/inspection/diff.py", set()),
    ],
)
def test_what_is_packed_counts_for_the_steps_that_pack_it(tree: Tree, name: str, steps: set[str]) -> None:
    """With its comments: they are part of what is packed."""
    before = tree.fingerprints(whole=True)
    found = changed(tree, tree.source / name, "\n# A comment.\n", before, whole=True)
    kvm = {key.removeprefix("0/") for key in found if key.startswith("0/")}
    assert steps <= kvm
    assert {step.partition("-")[0] for step in kvm} == {step.partition("-")[0] for step in steps}


def test_every_data_file_is_reached_by_a_module_beside_it() -> None:
    data = [
        path
        for name in ("builder", "common")
        for path in (PROJECT / name).rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
    ]
    unnamed = []
    for path in data:
        top = path if list(path.parent.glob("*.py")) else path.parent
        texts = (module.read_text() for module in top.parent.glob("*.py"))
        if not any(f'"{top.name}"' in text for text in texts):
            unnamed.append(str(path.relative_to(PROJECT)))
    assert unnamed == []


@pytest.mark.parametrize("arch", ["amd64", "aarch64"])
def test_an_architecture_is_an_input_of_its_own_steps(tmp_path: Path, arch: str) -> None:
    """An edit of its file changes the record that its steps have; another architecture has another record."""
    config = make_config(
        tmp_path,
        srcdir=PROJECT,
        stage1_version="1",
        debian_suite="bookworm",
        kernel_versions=("6.1",),
        stage1_architectures=("amd64", "aarch64"),
        stage1_flavors=("kvm",),
        stage1_hypervisors=("qemu",),
    )
    cache = StatCache(tmp_path / "stat-cache")
    fingerprinter = Fingerprinter(cache, config, code_root=PROJECT, epoch=1)
    changed, declaring = set(), set()
    for step in Graph(plan(config)).order:
        if step.machine is None:
            continue
        other = make_changed(step, arch)
        needs = dict.fromkeys(step.needed, "output")
        if fingerprinter.compute(other, needs).value != fingerprinter.compute(step, needs).value:
            changed.add(step.name)
        if step.machine.name == arch and "machine" in step.reads:
            declaring.add(step.name)
    assert changed == declaring
    assert any(name.startswith("kernel-compile") for name in changed)


def make_changed(step: Step, arch: str) -> Step:
    """The step after an edit of the file of an architecture."""
    machine = step.machine
    if machine is None or machine.name != arch:
        return step
    return dataclasses.replace(step, machine=dataclasses.replace(machine, kernel_make="nonsense"))
