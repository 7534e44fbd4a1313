"""What an edit of the toolchain makes run again: every step that can reach the file, and no other.

`modulefinder` says, from the bytecode, which modules a step can reach; the toolchain itself reads syntax trees.
"""

from __future__ import annotations

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
        "lkvm_source": str(source),
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

    def fingerprints(self) -> dict[tuple[int, str], str]:
        """The fingerprint of each step, its needs aside."""
        made = [Fingerprinter(self.cache, config, code_root=self.source, epoch=1) for config in self.configs]
        return {
            (index, step.name): made[index].compute(step, dict.fromkeys(step.needed, "output")).value
            for index, step in self.steps
        }

    def reached(self, step: Step) -> frozenset[Path]:
        """The files of the toolchain that the function of a step can reach."""
        run = step.run
        while isinstance(run, functools.partial):
            run = run.func
        return _reached(run.__module__, self.source)

    def packed(self, path: Path) -> set[tuple[int, str]]:
        """The steps whose input a file is: those that pack or compile it."""
        return {
            (index, step.name)
            for index, step in self.steps
            if any(path == file or path.is_relative_to(file) for file in step.files)
        }


@functools.cache
def _reached(module: str, source: Path) -> frozenset[Path]:
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
        files = {Path(known.__file__) for known in finder.modules.values() if known.__file__}
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


def edited(path: Path, text: str) -> None:
    content = path.read_bytes()
    path.write_bytes(content + text.encode())


def files_of(tree: Tree) -> list[Path]:
    found = [path for name in ("builder", "common", "stage1") for path in (tree.source / name).rglob("*")]
    return sorted(path for path in found if path.is_file())


def test_an_edit_changes_the_steps_that_reach_the_file(tree: Tree) -> None:
    before = tree.fingerprints()
    reached = {(index, step.name): tree.reached(step) for index, step in tree.steps}
    wrong = []
    for path in files_of(tree):
        content = path.read_bytes()
        edited(path, "\nEDITED = 1\n" if path.suffix == ".py" else "\n")
        after = tree.fingerprints()
        path.write_bytes(content)
        changed = {key for key in before if before[key] != after[key]}
        expected = {key for key, files in reached.items() if any(path == f or f in path.parents for f in files)}
        if path.parent.name == "architectures":
            expected = set()
        if changed != expected | tree.packed(path):
            wrong.append((str(path.relative_to(tree.source)), sorted(changed ^ (expected | tree.packed(path)))[:4]))
    assert wrong == []
    assert tree.fingerprints() == before


def test_a_comment_or_docstring_changes_only_what_packs_the_file(tree: Tree) -> None:
    before = tree.fingerprints()
    wrong = []
    for path in files_of(tree):
        if path.suffix != ".py":
            continue
        content = path.read_bytes()
        edited(path, '\n# A comment.\n\n"""A docstring."""\n')
        after = tree.fingerprints()
        path.write_bytes(content)
        if {key for key in before if before[key] != after[key]} != tree.packed(path):
            wrong.append(str(path.relative_to(tree.source)))
    assert wrong == []


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
    from dataclasses import replace

    machine = step.machine
    if machine is None or machine.name != arch:
        return step
    return replace(step, machine=replace(machine, kernel_make="nonsense"))
