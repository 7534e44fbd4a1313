"""The original rkt 1.30 with the images that were built: it trusts, fetches, runs, enters, stops and collects.

Needs its program, which MKSTAGE1_RKT names.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.image.app import App
from stage0.pods.mounts import mounted_below, unmount_below
from tests.functional.support.console import app_lines
from tests.functional.support.images import Image, NotBuilt, find_aci, find_flavor, pack_probe, public_key
from tests.functional.support.journal import wait_until
from tests.functional.support.programs import TIMEOUT
from tests.functional.support.rkt import Rkt
from tests.support.netns import ask, host_namespace, interfaces, rules
from tests.support.original import ORIGINAL, needs_original

UNSIGNED = "--insecure-options=image"
pytestmark = [needs_original, pytest.mark.checked_on("container")]


class Original(Rkt):
    """rkt 1.30, whose stage1 is the image under test."""

    def __init__(self, place: Path, stage1: Path, accel: str) -> None:
        super().__init__(place, accel=accel, program=Path(ORIGINAL))
        self.aci, self.accel = stage1, accel
        self.stage1 = f"--stage1-path={stage1}"
        self.environment["RKT_EXPERIMENT_ATTACH"] = "true"

    def uuids(self) -> list[str]:
        """The pods that it lists."""
        return [pod["name"] for pod in self.decoded("list") or []]


@pytest.fixture
def original(image: Image, workdir: Path, tmp_path: Path) -> Iterator[Original]:
    yield Original(tmp_path, find_aci(image.hypervisor, workdir), image.accel)
    # What a test that fails leaves.
    unmount_below(tmp_path)


@pytest.fixture
def app(probe: Path, tmp_path: Path) -> Path:
    """An image with the probe, which says that it is there and does then what its arguments say."""
    http = {"name": "http", "protocol": "tcp", "port": 80, "count": 1, "socketActivated": False}
    words = ("/bin/probe", "say", "probe is up")
    app = App("example.com/probe", words, environment={"FROM": "the image"}, ports=(http,))
    return pack_probe(probe, app, tmp_path / "probe.aci")


@pytest.mark.checked_on("qemu-tcg", "container")
def test_an_image_that_is_trusted_and_fetched_is_run_by_its_name(original: Original, app: Path, image: Image) -> None:
    """With its signature; the app's image alone has none. And what is fetched is what was built."""
    aci = original.aci
    key = public_key(aci)
    if key is None:
        pytest.skip("the image was built without a signature (--with-signing-key=none)")
    fetch = ("fetch", aci, f"--signature={aci}.asc", "--full")
    assert "signature made by unknown entity" in original(*fetch, status=254).stderr
    original("trust", f"--prefix={image.name}", "--skip-fingerprint-review", key)
    fetched = original(*fetch)
    assert "signature verified" in fetched.stderr
    with gzip.open(aci) as tar:
        # rkt keeps the first half of a digest.
        assert fetched.lines()[-1] == f"sha512-{hashlib.file_digest(tar, 'sha512').hexdigest()[:64]}"
    by_name = f"--stage1-name={image.name}:{image.version}"
    outcome = original(UNSIGNED, "run", by_name, "--net=none", app, "--", "exit", "3", status=3)
    assert app_lines(outcome.lines(), "probe") == ["probe is up"]


@pytest.mark.cgroup2
def test_a_running_pod_is_seen_entered_stopped_and_collected(original: Original, app: Path) -> None:
    saved = original.place / "uuid"
    flags = (original.stage1, "--net=none", f"--uuid-file-save={saved}")
    with original.start(UNSIGNED, "run", *flags, app, "--", "trap", "sleep", "3600") as running:
        running.wait_for("probe is up")
        uuid = saved.read_text()
        assert {"state=running", f"pid={running.pid}"} <= set(original("status", "--wait-ready", uuid).lines())
        entered = original("enter", uuid[:8], "/bin/probe", "say", "entered", "exit", "5", status=5)
        assert entered.lines() == ["entered"]
        assert original.uuids() == [uuid]
        original("stop", uuid)
        assert running.wait().status == 0
    assert {"state=exited", "app-probe=0"} <= set(original("status", "--wait", uuid).lines())
    original("gc", "--grace-period=0s")
    original("gc", "--grace-period=0s")
    assert (original.uuids(), mounted_below(original.data)) == ([], [])


def test_a_pod_that_is_killed_is_collected(original: Original, app: Path) -> None:
    saved = original.place / "uuid"
    flags = (original.stage1, "--net=none", f"--uuid-file-save={saved}")
    with original.start(UNSIGNED, "run", *flags, app, "--", "sleep", "3600") as running:
        running.wait_for("probe is up")
        original("stop", "--force", saved.read_text())
        assert running.wait().status != 0
    original("rm", saved.read_text())
    assert (original.uuids(), mounted_below(original.data)) == ([], [])


def test_what_is_asked_of_an_app_arrives(original: Original, app: Path) -> None:
    """Two apps with flags of their own: environment, user, volumes, isolators."""
    shared = original.place / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    (shared / "file").write_text("from the host\n")
    first = ("--name=first", "--user=1000", "--group=1001", "--environment=WORD=a b", "--mount=volume=data,target=/d")
    second = ("--name=second", "--memory=32Mi", "--caps-retain=CAP_KILL", "--readonly-rootfs=true")
    outcome = original(
        *(UNSIGNED, "run", original.stage1, "--net=none", f"--volume=data,kind=host,source={shared},readOnly=true"),
        *(app, *first, "--", "ids", "environment", "cat", "/d/file", "try", "/d/new", "---"),
        *(app, *second, "--", "cat", "/proc/self/status", "try", "/new"),
    )
    told = "\n".join(app_lines(outcome.lines(), "first"))
    for expected in (
        "uid 1000 gid 1001",
        "env [WORD=a b]",
        "env [FROM=the image]",
        "from the host",
        "Read-only file system",
    ):
        assert expected in told, outcome
    told = "\n".join(app_lines(outcome.lines(), "second"))
    for expected in ("line [CapBnd:\\x090000000000000020]", "Read-only file system"):
        assert expected in told, outcome


@pytest.fixture
def network(original: Original) -> Iterator[str]:
    """A namespace that stands for the host's, and a network there that keeps its leases in a directory of the test."""
    folder = original.local_config / "net.d"
    folder.mkdir(parents=True)
    ipam = {"type": "host-local", "subnet": "10.99.0.0/24", "dataDir": str(original.place / "leases")}
    (folder / "10-mine.conf").write_text(json.dumps({"name": "mine", "type": "ptp", "ipMasq": True, "ipam": ipam}))
    with host_namespace():
        yield "mine"


def test_a_port_of_a_pod_answers(original: Original, app: Path, network: str) -> None:
    before = interfaces()
    flags = (original.stage1, f"--net={network}", "--port=http:8080")
    with original.start(UNSIGNED, "run", *flags, app, "--", "serve", "80", "2") as running:
        running.wait_for("serving")
        assert ask("tcp", "10.99.0.2", 80) == "peer 10.99.0.1"
        assert ask("tcp", "127.0.0.1", 8080) == "peer 10.99.0.1"
        (uuid,) = original.uuids()
        assert f"networks={network}:ip4=10.99.0.2" in original("status", uuid).lines()
        assert running.wait().status == 0
    original("gc", "--grace-period=0s")
    original("gc", "--grace-period=0s")
    leases = list((original.place / "leases").rglob("10.*"))
    assert (interfaces(), rules(), leases, original.uuids()) == (before, "", [], [])


def test_a_prepared_pod_runs_and_another_is_attached(original: Original, app: Path) -> None:
    uuid = original(UNSIGNED, "prepare", "--quiet", original.stage1, app, "--", "exit", "9").lines()[-1]
    original("run-prepared", "--net=none", uuid, status=9)
    flags = (original.stage1, "--net=none", f"--uuid-file-save={original.place / 'uuid'}")
    modes = ("--stdin=stream", "--stdout=stream", "--stderr=stream")
    with original.start(UNSIGNED, "run", *flags, app, *modes, "--", "read", "say", "done") as running:
        wait_until(lambda: "running" in original("list").stdout)
        uuid = (original.place / "uuid").read_text()
        original("status", "--wait-ready", uuid)
        assert {"stdin", "stdout", "stderr"} <= set(original("attach", "--mode=list", uuid).lines())
        attached = subprocess.run(
            original.argv("attach", "--mode=stdin,stdout,stderr", uuid),
            cwd=original.place,
            env=os.environ | original.environment,
            input="typed\n",
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert attached.returncode == 0, attached
        assert attached.stdout.splitlines()[-2:] == ["read [typed]", "done"], attached
        assert running.wait().status == 0


def test_mutable_pods_are_refused_before_anything_starts(original: Original, app: Path) -> None:
    original.environment["RKT_EXPERIMENT_APP"] = "true"
    refused = original(UNSIGNED, "app", "sandbox", original.stage1, "--net=none", status=1)
    assert "stage1 does not support mutable pods" in refused.stderr


def test_each_program_collects_what_the_other_ran(original: Original, app: Path) -> None:
    """With one data directory."""
    ours = Rkt(original.place / "ours", original.aci, original.accel)
    ours.data = original.data
    original(UNSIGNED, "run", original.stage1, "--net=none", app, "--", "write", "/mine", "x", "exit", "5", status=5)
    (uuid,) = original.uuids()
    assert "app-probe=5" in ours("status", uuid).lines()
    ours("export", "--app=probe", uuid, original.place / "exported.aci")
    with tarfile.open(original.place / "exported.aci") as exported:
        written = exported.extractfile("rootfs/mine")
        assert written is not None
        assert written.read() == b"x"
    ours("rm", uuid)
    ours(UNSIGNED, "run", "--net=none", app, "--", "exit", "6", status=6)
    (uuid,) = original.uuids()
    assert "app-probe=6" in original("status", uuid).lines()
    original("rm", uuid)
    assert (original.uuids(), mounted_below(original.data)) == ([], [])


def test_the_flavor_fly(workdir: Path, app: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("rkt runs pods as root")
    try:
        original = Original(tmp_path, find_flavor("fly", workdir), "auto")
    except NotBuilt as error:
        pytest.skip(str(error))
    flags = (original.stage1, f"--uuid-file-save={tmp_path / 'uuid'}")
    with original.start(UNSIGNED, "run", *flags, app, "--", "trap", "sleep", "3600") as running:
        running.wait_for("probe is up")
        uuid = (tmp_path / "uuid").read_text()
        entered = original("enter", uuid, "/bin/probe", "say", "entered", "exit", "5", status=5)
        assert "entered" in entered.stdout
        original("stop", uuid)
        assert running.wait().status == 0
    original("rm", uuid)
    assert (original.uuids(), mounted_below(original.data)) == ([], [])
