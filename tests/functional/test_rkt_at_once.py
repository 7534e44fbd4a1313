"""Many `rkt` at once, on one data directory: each fetches an image, verifies it, and runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from builder.image.app import App
from stage0.pods.mounts import mounted_below, unmount_below
from tests.functional.support.images import NotBuilt, find_flavor, pack_probe
from tests.functional.support.programs import RunningProgram
from tests.functional.support.rkt import Rkt
from tests.support.image_server import Site, content, serve
from tests.support.openpgp import export, gpg, make_key, need_gpg, scratch_home

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its root directory")

SHARED = "example.com/shared"
PAGE = b"""<meta name="ac-discovery" content="example.com https://example.com/files/{name}-{version}.{ext}">
<meta name="ac-discovery-pubkeys" content="example.com https://example.com/keys.gpg">"""


@pytest.fixture(params=[10, pytest.param(50, marks=pytest.mark.everything)])
def processes(request: pytest.FixtureRequest) -> int:
    """How many there are at once."""
    number: int = request.param
    return number


@pytest.fixture
def rkt(workdir: Path, tmp_path: Path) -> Iterator[Rkt]:
    try:
        yield Rkt(tmp_path / "host", find_flavor("fly", workdir))
    except NotBuilt as error:
        pytest.skip(str(error))
    # What a test that fails leaves.
    unmount_below(tmp_path)


@pytest.fixture
def site(probe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processes: int) -> Iterator[Site]:
    """Signed images: one that is everybody's, and one of each process."""
    need_gpg()
    with scratch_home() as home, serve(tmp_path, monkeypatch) as site:
        key = make_key(home, "Publisher <publisher@example.com>")
        site.routes["https://example.com/keys.gpg"] = content(export(home, key, tmp_path / "keys.gpg").read_bytes())
        for name in (SHARED, *map(_own, range(0, processes, 2))):
            app = App(name, ("/bin/probe",), labels={"version": "1"})
            aci = pack_probe(probe, app, tmp_path / "image.aci")
            gpg(home, "--armor", "--local-user", key, "--output", f"{aci}.asc", "--detach-sign", str(aci))
            url = f"https://example.com/files/{name}-1.aci"
            site.routes |= {
                f"https://{name}?ac-discovery=1": content(PAGE),
                url: content(aci.read_bytes()),
                f"{url}.asc": content(Path(f"{aci}.asc").read_bytes()),
            }
        yield site


def _own(number: int) -> str:
    return f"example.com/own-{number}"


def test_many_at_once_lose_nothing(rkt: Rkt, site: Site, processes: int) -> None:
    """Half of them run an image of their own, half the same one; what they leave is collected by five at once."""
    rkt("trust", "--prefix=example.com", "--skip-fingerprint-review", rkt.place.parent / "keys.gpg")
    with ExitStack() as stack:
        programs: list[RunningProgram] = []
        for number in range(processes):
            name = SHARED if number % 2 else _own(number)
            words = ("run", f"--uuid-file-save={rkt.place}/uuid-{number}", f"{name}:1", "--", "say", f"I am {number}")
            programs.append(stack.enter_context(rkt.start(*words, "exit", str(number))))
        for number, program in enumerate(programs):
            outcome = program.wait()
            assert (outcome.status, outcome.stdout) == (number, f"I am {number}\n"), outcome
    for number in range(processes):
        status = rkt("status", (rkt.place / f"uuid-{number}").read_text()).lines()
        assert any(line.endswith(f"={number}") for line in status if line.startswith("app-")), status
    assert len(rkt.decoded("list")) == processes
    names = {image["name"].removesuffix(":1") for image in rkt.decoded("image", "list")}
    apps = {SHARED, *map(_own, range(0, processes, 2))}
    assert {name for name in names if "example.com" in name} == apps
    rkt("image", "verify", *(f"{name}:1" for name in sorted(apps)))
    with ExitStack() as stack:
        for program in [stack.enter_context(rkt.start("gc", "--grace-period=0s")) for _ in range(5)]:
            assert program.wait().status == 0
    rkt("gc", "--grace-period=0s")
    assert (rkt("list", "--no-legend").stdout, mounted_below(rkt.data)) == ("", [])
