"""What the documentation of rkt shows: trust a key, run etcd, run it with a stage1 image that is found by its name."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.functional.support import etcd as etcd_image
from tests.functional.support.console import app_lines
from tests.functional.support.etcd import NAME, USER_IDS, VERSION, SignedEtcd
from tests.functional.support.images import CONTAINER, Image, NotBuilt, find_aci, public_key
from tests.functional.support.rkt import Rkt
from tests.functional.support.terminal import Terminal
from tests.support.image_server import Site, content, serve
from tests.support.netns import host_namespace, interfaces, rules

IMAGE = f"{NAME}:{VERSION}"
KEY_URL = "https://coreos.com/dist/aci-pubkeys.gpg"
ACI_URL = f"https://coreos.com/dist/etcd-{VERSION}-linux-amd64.aci"
STAGE1_NAMES = ("coreos.com/rkt/stage1-kvm", "coreos.com/rkt/stage1-coreos")
STAGE1_KEY_URL = "https://coreos.com/dist/stage1-pubkeys.gpg"
LEADER = "became leader at term 2"

_STAGE1_TAGS = "\n".join(
    f'<meta name="ac-discovery" content="{name} https://{name.replace("/rkt/", "/dist/")}'
    f'-{{version}}-{{os}}-{{arch}}.{{ext}}">\n<meta name="ac-discovery-pubkeys" content="{name} {STAGE1_KEY_URL}">'
    for name in STAGE1_NAMES
)
PAGE = f"""<!DOCTYPE html>
<html><head>
<meta name="ac-discovery" content="{NAME} https://coreos.com/dist/etcd-{{version}}-{{os}}-{{arch}}.{{ext}}">
<meta name="ac-discovery-pubkeys" content="{NAME} {KEY_URL}">
{_STAGE1_TAGS}
</head><body>Nothing to see here.</body></html>
"""


@pytest.fixture(scope="session")
def etcd(workdir: Path) -> SignedEtcd:
    try:
        return etcd_image.build(workdir)
    except NotBuilt as error:
        pytest.skip(str(error))


@pytest.fixture
def coreos(etcd: SignedEtcd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The server, and a network namespace that stands for the host's."""
    with host_namespace(), serve(tmp_path, monkeypatch, "coreos.com") as site:
        site.routes |= {
            "https://coreos.com/?ac-discovery=1": content(PAGE.encode()),
            KEY_URL: content(etcd.public_key.read_bytes()),
            ACI_URL: content(etcd.image.read_bytes()),
            f"{ACI_URL}.asc": content(etcd.signature.read_bytes()),
        }
        yield site


@pytest.fixture
def host(rkt: Rkt, coreos: Site) -> Rkt:
    """rkt on a host whose default network keeps its leases in a directory of the test, and that trusts the key."""
    folder = rkt.local_config / "net.d"
    folder.mkdir(parents=True)
    ipam = {"type": "host-local", "subnet": "10.96.0.0/24", "dataDir": str(rkt.place / "leases")}
    network = {"name": "default", "type": "ptp", "ipMasq": True, "ipam": ipam}
    (folder / "10-default.conf").write_text(json.dumps(network))
    rkt("trust", f"--prefix={NAME}", "--skip-fingerprint-review")
    return rkt


def grouped(fingerprint: str) -> str:
    """As people compare it."""
    upper = fingerprint.upper()
    return re.sub(r"(.{24}) (.*)", r"\1  \2", " ".join(upper[start : start + 4] for start in range(0, 40, 4)))


def review(etcd: SignedEtcd) -> list[str]:
    """What is shown of the key."""
    user_ids = [f"\t{user_id}" for user_id in USER_IDS]
    fingerprint = f"gpg key fingerprint is: {grouped(etcd.fingerprint)}"
    return [f'rkt: prefix: "{NAME}"', f'key: "{KEY_URL}"', fingerprint, *user_ids]


def added(rkt: Rkt, etcd: SignedEtcd) -> str:
    path = rkt.local_config / "trustedkeys/prefix.d" / NAME / etcd.fingerprint
    assert path.read_bytes() == etcd.public_key.read_bytes()
    return f'Added key for prefix "{NAME}" at "{path}"'


def size(path: Path) -> str:
    """In rkt's words."""
    count = path.stat().st_size
    amount = f"{count} B" if count < 1000 else f"{count / 1e6:.3g} MB"
    return f"{amount}/{amount}"


def test_trust_asks(etcd: SignedEtcd, coreos: Site, tmp_path: Path) -> None:
    rkt = Rkt(tmp_path)
    question = "Are you sure you want to trust this key (yes/no)?"
    with Terminal() as terminal, rkt.start("trust", "--prefix", NAME, terminal=terminal.ends) as running:
        running.wait_for(question)
        terminal.type("no\n")
        running.wait_for("not trusting")
        outcome = running.wait()
    assert (outcome.status, outcome.lines()) == (
        0,
        [*review(etcd), question, "no", f'rkt: not trusting "{KEY_URL}"'],
    )
    assert not (rkt.local_config / "trustedkeys").exists()
    with Terminal() as terminal, rkt.start("trust", "--prefix", NAME, terminal=terminal.ends) as running:
        running.wait_for(question)
        terminal.type("maybe\n")
        running.wait_for(f"Please enter 'yes' or 'no'\r\n{question}")
        terminal.type("yes\n")
        running.wait_for("Added key")
        outcome = running.wait()
    assert outcome.lines() == [
        *(*review(etcd), question, "maybe", "Please enter 'yes' or 'no'", question, "yes"),
        f'Trusting "{KEY_URL}" for prefix "{NAME}" after fingerprint review.',
        added(rkt, etcd),
    ]


def test_trust_without_a_question(etcd: SignedEtcd, coreos: Site, tmp_path: Path) -> None:
    rkt = Rkt(tmp_path)
    refused = rkt("trust", "--prefix", NAME, status=254)
    assert "unable to ask user to review fingerprint due to lack of tty" in refused.stderr
    outcome = rkt("trust", "--prefix", NAME, "--skip-fingerprint-review")
    assert outcome.stderr.splitlines() == review(etcd)[:2]
    assert outcome.lines() == [
        *review(etcd)[2:],
        f'Trusting "{KEY_URL}" for prefix "{NAME}" without fingerprint review.',
        added(rkt, etcd),
    ]


def test_run_on_pipes(host: Rkt, etcd: SignedEtcd) -> None:
    """Plain lines; etcd is stopped in order, and the pod collected with all that it had of the host."""
    before, saved = interfaces(), host.place / "uuid"
    with host.start("run", f"--uuid-file-save={saved}", IMAGE) as running:
        running.wait_for(LEADER)
        uuid = saved.read_text()
        host("status", "--wait-ready", uuid)
        assert rules() != ""
        assert host("stop", uuid).stdout == f'"{uuid}"\n'
        outcome = running.wait()
    # As a shell says that SIGTERM has ended a program.
    status = 128 + signal.SIGTERM
    assert outcome.status == status, outcome
    assert outcome.stderr.splitlines() == [
        f"rkt: searching for app image {IMAGE}",
        f"rkt: fetching image from {ACI_URL}",
        f"Downloading signature: {size(etcd.signature)}",
        f"Downloading ACI: {size(etcd.image)}",
        "rkt: signature verified:",
        f"  {USER_IDS[0]}",
    ]
    assert any(line.endswith(LEADER) for line in app_lines(outcome.lines(), "etcd")), outcome
    assert f"app-etcd={status}" in host("status", uuid).lines()
    host("gc")
    assert host("gc", "--grace-period=0s").lines() == [f'Garbage collecting pod "{uuid}"']
    assert host("list", "--no-legend").stdout == ""
    assert list((host.data / "pods").glob("*/*-*")) == []
    leases = list((host.place / "leases").rglob("10.*"))
    assert (interfaces(), rules(), leases) == (before, "", [])


@pytest.mark.checked_on("container")
def test_run_on_a_terminal(host: Rkt, image: Image, etcd: SignedEtcd) -> None:
    """Bars, and Ctrl-a x leaves: the terminal is again what it was."""
    with Terminal() as terminal:
        before = terminal.settings()
        with host.start("run", IMAGE, terminal=terminal.ends) as running:
            running.wait_for(LEADER)
            shown = running.stdout
            terminal.type("\x1d" * 3 if image.hypervisor == CONTAINER else "\x01x")
            running.wait()
        assert terminal.settings() == before
    position = -1
    for expected in (
        f"rkt: searching for app image {re.escape(IMAGE)}\r\n",
        rf"Downloading signature: \[=+\] {size(etcd.signature)}",
        rf"Downloading ACI: \[=+\] {size(etcd.image)}",
        f"rkt: signature verified:\r\n  {re.escape(USER_IDS[0])}\r\n",
        rf"etcd\[\d+\]: .*{LEADER}",
    ):
        match = re.compile(expected).search(shown, position + 1)
        assert match is not None, f"{expected} is not in {shown!r}"
        position = match.end()
    (pod,) = host.decoded("list")
    assert pod["state"] == "exited"
    host("rm", pod["name"])


@pytest.mark.checked_on("container")
def test_run_with_a_stage1_that_is_found_by_its_name(host: Rkt, image: Image, coreos: Site, workdir: Path) -> None:
    """And with --debug: the messages of the kernel and of systemd appear."""
    aci = find_aci(image.hypervisor, workdir)
    key = public_key(aci)
    if key is None:
        pytest.skip("the image was built without a signature (--with-signing-key=none)")
    base = image.name.rpartition("/")[2]
    url = f"https://coreos.com/dist/{base}-{image.version}-linux-amd64.aci"
    coreos.routes |= {
        STAGE1_KEY_URL: content(key.read_bytes()),
        url: content(aci.read_bytes()),
        f"{url}.asc": content(aci.with_name(f"{aci.name}.asc").read_bytes()),
    }
    host("trust", f"--prefix={image.name}", "--skip-fingerprint-review")
    name = f"{image.name}:{image.version}"
    with host.start("--debug", "run", f"--stage1-name={name}", IMAGE) as running:
        running.wait_for(LEADER)
        (pod,) = host.decoded("list")
        host("stop", "--force", pod["name"])
        outcome = running.wait()
    told = iter(outcome.stderr.splitlines())
    for expected in (
        f"rkt: searching for app image {name}",
        f"rkt: fetching image from {url}",
        "rkt: signature verified:",
        f"rkt: searching for app image {IMAGE}",
        f"rkt: fetching image from {ACI_URL}",
        "rkt: signature verified:",
    ):
        assert expected in told, f"{expected!r} is not there, or not in this order: {outcome.stderr}"
    assert url in coreos.urls
    kernel = () if image.hypervisor == CONTAINER else ("as init process",)
    for expected in (*kernel, "running in system mode"):
        assert expected in outcome.stdout, "--debug shows the messages of the kernel and of systemd"
    host("rm", pod["name"])
