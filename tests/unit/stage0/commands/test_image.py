from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stage0.store import ImageId, Store, TreeStore
from tests.support.acis import aci, folder, item, manifest, symlink
from tests.support.programs import start_rkt

UUIDS = [f"{number}d4eb4f0-1c7a-4d3a-9a0e-5f0f3f1f2f3f" for number in range(10)]
ROOT = Path(__file__).parents[4]


class Rkt:
    """`rkt` with a data directory of its own."""

    def __init__(self, data: Path) -> None:
        self.data = data

    def __call__(self, *words: str, status: int = 0) -> tuple[str, str]:
        """Standard output and standard error of a command."""
        process = start_rkt(f"--dir={self.data}", "image", *words, cwd=ROOT, env={**os.environ, "TZ": "UTC"})
        output, errors = process.communicate()
        assert process.returncode == status, errors
        return output, errors

    def put(self, name: str, **fields: str) -> ImageId:
        items = (folder("rootfs/d"), item("rootfs/d/f", name.encode(), mode=0o751), symlink("rootfs/l", "d"))
        path = aci(self.data.parent / "x.aci", *items, manifest=manifest(f"example.com/{name}", **fields))
        with Store(self.data) as store:
            return store.import_aci(path)

    def render(self, image_id: ImageId) -> str:
        with Store(self.data) as store:
            return TreeStore(store).render(image_id)

    @property
    def trees(self) -> list[str]:
        return sorted(path.name for path in (self.data / "cas/tree").iterdir())


@pytest.fixture
def rkt(tmp_path: Path) -> Rkt:
    return Rkt(tmp_path / "data")


def test_an_empty_store_has_an_empty_list(rkt: Rkt) -> None:
    assert rkt("list")[0] == "ID\tNAME\tSIZE\tIMPORT TIME\tLAST USED\n"
    assert rkt("list", "--no-legend")[0] == ""
    assert rkt("list", "--format=json")[0] == "null\n"


def test_list_has_the_columns_of_rkt(rkt: Rkt) -> None:
    one, two = rkt.put("one", version="1.0"), rkt.put("two")
    lines = rkt("list", "--fields=name,id,size")[0].splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "ID", "SIZE"],
        ["example.com/one:1.0", one[:19], "10KiB"],
        ["example.com/two", two[:19], "10KiB"],
    ]
    lines = rkt("list", "--no-legend", "--full", "--fields=size,id", "--sort=name", "--order=desc")[0].splitlines()
    assert [line.split() for line in lines] == [["10240", two], ["10240", one]]
    year = time.strftime("%Y", time.gmtime())
    assert rkt("list", "--full", "--fields=importtime")[0].splitlines()[1].startswith(f"{year}-")


def test_list_as_json(rkt: Rkt) -> None:
    image_id = rkt.put("one", version="1")
    rkt.render(image_id)
    compact, pretty = rkt("list", "--format=json")[0], rkt("list", "--format=json-pretty")[0]
    (image,) = json.loads(compact)
    assert json.loads(pretty) == [image]
    assert pretty.startswith('[\n\t{\n\t\t"id": "sha512-')
    assert list(image) == ["id", "name", "import_time", "last_used_time", "size"]
    assert (image["id"], image["name"]) == (image_id, "example.com/one:1")
    assert image["size"] > 10240
    assert abs(image["import_time"] - time.time_ns()) < 3600 * 10**9


@pytest.mark.parametrize(
    "words", [["--fields=nothing"], ["--sort=id"], ["--sort=name,name"], ["--order=up"], ["--format=yaml"]]
)
def test_list_refuses_unknown_words(words: list[str], rkt: Rkt) -> None:
    out, err = rkt("list", *words, status=254)
    assert (out, words[0].partition("=")[0] in err) == ("", True)


def test_manifest_is_printed_in_both_forms(rkt: Rkt) -> None:
    image_id = rkt.put("one", version="1")
    pretty, plain = rkt("cat-manifest", image_id[:20])[0], rkt("cat-manifest", "--pretty-print=false", image_id)[0]
    assert json.loads(pretty) == json.loads(plain) == manifest("example.com/one", version="1")
    assert pretty.startswith('{\n\t"acKind": "ImageManifest",\n')
    assert plain.startswith('{"acKind":"ImageManifest",')


@pytest.mark.parametrize("command", ["cat-manifest", "verify", "rm", "export", "extract", "render"])
def test_an_image_that_is_not_there_is_named(command: str, rkt: Rkt, tmp_path: Path) -> None:
    output = [str(tmp_path / "output")] if command in ("export", "extract", "render") else []
    out, err = rkt(command, "example.com/none:1", *output, status=254)
    words = 'cannot find aci satisfying name: "example.com/none" and labels: [{"version" "1"}] in the local store'
    assert (out, err) == ("", f"rkt: error: {words}\n")
    assert not (tmp_path / "output").exists()


def test_export_is_the_plain_tar(rkt: Rkt, tmp_path: Path) -> None:
    rkt.put("one")
    output = tmp_path / "out.aci"
    rkt("export", "example.com/one", str(output))
    assert output.read_bytes() == (tmp_path / "x.aci").read_bytes()
    output.write_text("mine")
    assert "output ACI file exists (try --overwrite)" in rkt("export", "example.com/one", str(output), status=254)[1]
    assert output.read_text() == "mine"
    rkt("export", "--overwrite", "example.com/one", str(output))
    assert output.read_bytes() == (tmp_path / "x.aci").read_bytes()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): f"{path.lstat().st_mode:o}"
        for path in root.rglob("*")
        if not path.name.startswith(".")
    }


TREE = {"d": "40755", "d/f": "100751", "l": "120777"}


@pytest.mark.parametrize("command", ["extract", "render"])
def test_a_directory_out_of_an_image(command: str, rkt: Rkt, tmp_path: Path) -> None:
    rkt.put("one")
    rkt(command, "--rootfs-only", "example.com/one", str(tmp_path / "a/rootfs"))
    assert tree(tmp_path / "a/rootfs") == TREE
    rkt(command, "example.com/one", str(tmp_path / "a/whole"))
    mode = "100644" if command == "extract" else "100700"
    inner = {f"rootfs/{name}": kind for name, kind in TREE.items()}
    assert tree(tmp_path / "a/whole") == {"manifest": mode, "rootfs": "40755", **inner}
    assert stat.S_IMODE((tmp_path / "a/whole").stat().st_mode) == 0o755
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["rootfs", "whole"]


@pytest.mark.parametrize("command", ["extract", "render"])
def test_a_directory_that_exists_stays(command: str, rkt: Rkt, tmp_path: Path) -> None:
    rkt.put("one")
    (tmp_path / "there").mkdir()
    (tmp_path / "there/mine").write_text("")
    message = rkt(command, "example.com/one", str(tmp_path / "there"), status=254)[1]
    assert "output directory exists (try --overwrite)" in message
    assert tree(tmp_path / "there").keys() == {"mine"}
    rkt(command, "--overwrite", "--rootfs-only", "example.com/one", str(tmp_path / "there"))
    assert tree(tmp_path / "there") == TREE
    message = rkt(command, "--overwrite", "example.com/one", "/", status=254)[1]
    assert "this would delete your root filesystem. Refusing." in message


def test_verify_tells_and_mends(rkt: Rkt) -> None:
    image_id = rkt.put("one")
    assert rkt("verify", "example.com/one")[0] == 'image "example.com/one" not rendered; no verification needed\n'
    tree_id = rkt.render(image_id)
    good = f'successfully verified checksum for image: "example.com/one" ("{image_id}")\n'
    assert rkt("verify", "example.com/one")[0] == good
    (rkt.data / "cas/tree" / tree_id / "rootfs/d/f").write_text("changed")
    words = f"tree cache verification failed for image {image_id[:30]}: wrong tree hash"
    assert words in rkt("verify", image_id[:30])[0]
    assert rkt("verify", "example.com/one")[0] == good


def test_render_mends_a_tree_that_was_changed(rkt: Rkt, tmp_path: Path) -> None:
    tree_id = rkt.render(rkt.put("one"))
    (rkt.data / "cas/tree" / tree_id / "rootfs/d/f").unlink()
    assert "Rebuilding" in rkt("render", "--rootfs-only", "example.com/one", str(tmp_path / "out"))[1]
    assert tree(tmp_path / "out") == TREE


def test_rm_removes_what_it_finds(rkt: Rkt) -> None:
    one, two = rkt.put("one"), rkt.put("two")
    out, err = rkt("rm", "example.com/one", "example.com/none", "example.com/gone", two[:25], one, status=254)
    assert out == "".join(f'successfully removed aci for image: "{image}"\n' for image in (one, two))
    assert err.splitlines()[0] == "rm: 2 image(s) successfully removed"
    assert [line for line in err.splitlines() if line.startswith("rkt: error: cannot find aci")] == err.splitlines()[1:]
    assert rkt("list", "--format=json")[0] == "null\n"
    assert rkt("rm", status=254)[1] == "rkt: error: must provide at least one image ID\n"


@pytest.fixture
def pods(rkt: Rkt) -> Iterator[dict[str, str]]:
    """Trees of pods in several states, the first of which runs, and of none. UUID -> tree ID."""
    trees = {}
    for uuid, state in zip(UUIDS, ("run", "prepared", "exited-garbage"), strict=False):
        image_id = rkt.put(f"app-{state}")
        pod = rkt.data / "pods" / state / uuid
        (pod / "appsinfo/app").mkdir(parents=True)
        trees[uuid] = rkt.render(image_id)
        (pod / "appsinfo/app/treeStoreID").write_text(trees[uuid])
        (pod / "stage1TreeStoreID").write_text(rkt.render(rkt.put("stage1")))
        app = {"name": "app", "image": {"id": image_id}}
        (pod / "pod").write_text(json.dumps({"acVersion": "0.8.11", "acKind": "PodManifest", "apps": [app]}))
    lock = os.open(rkt.data / "pods/run" / UUIDS[0], os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield trees
    os.close(lock)


def test_gc_keeps_what_pods_need(rkt: Rkt, pods: dict[str, str]) -> None:
    stage1 = rkt.render(rkt.put("stage1"))
    lone = rkt.render(rkt.put("lone"))
    (rkt.data / "cas/tree/deps-sha512-partial").mkdir()
    (rkt.data / "cas/tmp/rkt-scratch-left").write_text("")
    out, err = rkt("gc")
    assert rkt.trees == sorted([stage1, *pods.values()])
    removed = sorted(["deps-sha512-partial", lone])
    assert (out, err) == ("", "".join(f'gc: removed treestore "{tree}"\n' for tree in removed))
    assert list((rkt.data / "cas/tmp").iterdir()) == []
    assert len(rkt("list", "--no-legend")[0].splitlines()) == 5


def test_gc_removes_images_after_their_grace_period(rkt: Rkt, pods: dict[str, str]) -> None:
    rkt("gc", "--grace-period=1h")
    assert len(rkt("list", "--no-legend")[0].splitlines()) == 4
    out, _ = rkt("gc", "--grace-period=0s")
    assert out.count("successfully removed aci for image") == 3
    (image,) = json.loads(rkt("list", "--format=json")[0])
    assert image["name"] == "example.com/app-run"
    assert rkt("gc", "--grace-period=soon", status=254)[0] == ""
