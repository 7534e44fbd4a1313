from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage1.host.errors import UserError
from stage1.network.config import MAXIMUM, NetworkConfig, NetworkType, Request, load_networks, parse_requests

FLAVOR = Path(__file__).parents[4] / "flavors/kvm/files"
LOCAL: dict[str, Any] = {"ipam": {"type": "host-local", "subnet": "10.1.0.0/16"}}


def load(tmp_path: Path, *items: str, image: Path = FLAVOR) -> tuple[NetworkConfig, ...]:
    return load_networks(parse_requests(items), str(tmp_path), str(image))


def write(tmp_path: Path, file: str, settings: Any) -> None:
    (tmp_path / "net.d").mkdir(exist_ok=True)
    (tmp_path / "net.d" / file).write_text(settings if isinstance(settings, str) else json.dumps(settings))


def test_requests_are_rkts() -> None:
    assert parse_requests(["default", "own:IP=1.2.3.4;X=y"]) == (
        Request("default", ""),
        Request("own", "IP=1.2.3.4;X=y"),
    )
    assert parse_requests(["none"]) == parse_requests(["default", "none"]) == ()


@pytest.mark.parametrize(
    ("items", "text"),
    [
        (["host", "a"], "host excludes"),
        ([""], "not NAME"),
        (["a", "a:x=y"], "a is there twice"),
        (["all:x=y"], "not NAME"),
        (["a:b:c"], "not NAME"),
        (["a:b\nc"], "cannot be printed"),
    ],
)
def test_requests_that_are_refused(items: list[str], text: str) -> None:
    with pytest.raises(UserError, match=text):
        parse_requests(items)


@given(st.lists(st.text(alphabet="ab:=;,\n\0none", max_size=8), max_size=4))
def test_requests_are_read_or_refused(items: list[str]) -> None:
    try:
        requests = parse_requests(items)
    except UserError:
        return
    assert "none" in [item.partition(":")[0] for item in items] or [
        request.name + (":" if request.arguments else "") + request.arguments for request in requests
    ] == [item.removesuffix(":") for item in items]


def test_the_built_in_networks(tmp_path: Path) -> None:
    restricted, default = load(tmp_path, "default-restricted", "default")
    assert (default.name, default.type, default.ip_masq) == ("default", NetworkType.PTP, True)
    assert default.ipam["subnet"] == "172.16.28.0/24"
    assert default.ipam["routes"] == [{"dst": "0.0.0.0/0"}]
    assert (restricted.name, restricted.ip_masq, "routes" in restricted.ipam) == ("default-restricted", False, False)
    (user,) = load(tmp_path, "user")
    assert user.type is NetworkType.USER
    assert [config.name for config in load(tmp_path, "all")] == ["default-restricted", "default"]
    assert load(tmp_path, "none") == ()


def test_the_administrators_networks_come_first_and_in_the_order_of_files(tmp_path: Path) -> None:
    write(tmp_path, "20-default.conf", LOCAL | {"name": "default", "type": "bridge"})
    write(tmp_path, "10-own.conf", LOCAL | {"name": "own", "type": "bridge", "bridge": "br1", "mtu": 1400})
    write(tmp_path, "30-own.conf", LOCAL | {"name": "own", "type": "ptp"})
    write(tmp_path, "99-other.json", "no configuration")
    own, default = load(tmp_path, "default", "own:IP=10.1.0.9")
    assert (default.type, default.bridge, default.path) == (
        NetworkType.BRIDGE,
        "cni0",
        f"{tmp_path}/net.d/20-default.conf",
    )
    assert (own.type, own.bridge, own.mtu, own.arguments) == (NetworkType.BRIDGE, "br1", 1400, "IP=10.1.0.9")
    assert [config.name for config in load(tmp_path, "all")] == ["own", "default", "default-restricted"]


def test_a_default_gateway_is_a_gateway(tmp_path: Path) -> None:
    write(tmp_path, "a.conf", LOCAL | {"name": "a", "type": "bridge", "isDefaultGateway": True})
    (config,) = load(tmp_path, "a")
    assert (config.is_gateway, config.is_default_gateway) == (True, True)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        (LOCAL | {"type": "ipvlan"}, "use macvlan"),
        (LOCAL | {"type": "host"}, "use a network of type ptp"),
        (LOCAL | {"type": "weave"}, "'weave': unknown; the types are ptp, bridge, macvlan, user, flannel"),
        (LOCAL, "type '': unknown"),
        (LOCAL | {"type": 7}, "type must be a text"),
        ({"type": "bridge", "ipam": {"type": "dhcp"}}, "use host-local"),
        ({"type": "bridge"}, "ipam: type, the name of a plugin such as host-local, is missing"),
        ({"type": "bridge", "ipam": {"type": "../../bin/sh"}}, "the name of a plugin"),
        ({"type": "bridge", "ipam": []}, "ipam must be an object"),
        (LOCAL | {"type": "macvlan"}, "master, the name of an interface of the host, is missing"),
        (LOCAL | {"type": "bridge", "bridge": "a/b"}, "'a/b' is not a name of an interface"),
        (LOCAL | {"type": "bridge", "bridge": "sixteen-letters-"}, "not a name of an interface"),
        (LOCAL | {"type": "bridge", "mtu": 67}, "mtu: 67"),
        (LOCAL | {"type": "bridge", "mtu": True}, "mtu must be a number"),
        (LOCAL | {"type": "bridge", "ipMasq": "yes"}, "ipMasq must be true or false"),
        ("{", "not JSON"),
        ("[" * 100000, "not JSON"),
        ("[]", "a JSON object is expected"),
        ({"name": "../up", "type": "ptp"}, "'../up' is not a network's name"),
    ],
)
def test_configurations_that_are_refused(tmp_path: Path, settings: Any, text: str) -> None:
    write(tmp_path, "own.conf", {"name": "own"} | settings if isinstance(settings, dict) else settings)
    with pytest.raises(UserError) as caught:
        load(tmp_path, "own")
    assert text in str(caught.value)
    assert f"{tmp_path}/net.d/own.conf" in str(caught.value)


def test_requests_that_no_configuration_answers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no network own, two; those configured are default, default-restricted, user"):
        load(tmp_path, "own", "default", "two")
    with pytest.raises(UserError, match="user takes no arguments"):
        load(tmp_path, "user:IP=1.2.3.4")
    write(tmp_path, "u.conf", {"name": "u", "type": "user"})
    with pytest.raises(UserError, match="only one network of type user"):
        load(tmp_path, "user", "u")


def test_a_pod_has_a_limited_number_of_networks(tmp_path: Path) -> None:
    for number in range(MAXIMUM + 1):
        write(tmp_path, f"{number}.conf", LOCAL | {"name": f"n{number}", "type": "bridge"})
    assert len(load(tmp_path, *(f"n{number}" for number in range(MAXIMUM)))) == MAXIMUM
    with pytest.raises(UserError, match=f"{MAXIMUM + 1} networks are more"):
        load(tmp_path, *(f"n{number}" for number in range(MAXIMUM + 1)))


def test_a_folder_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "net.d").write_text("")
    with pytest.raises(UserError, match="cannot read"):
        load(tmp_path, "default")


def flannel(tmp_path: Path, subnet: str | None = None, **settings: Any) -> NetworkConfig:
    file = tmp_path / "subnet.env"
    default = "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
    file.write_text(default if subnet is None else subnet)
    write(tmp_path, "f.conf", {"name": "f", "type": "flannel", "subnetFile": str(file)} | settings)
    (config,) = load(tmp_path, "f")
    return config


def test_flannel_stands_for_a_bridge(tmp_path: Path) -> None:
    config = flannel(tmp_path, cniVersion="0.3.1")
    assert (config.name, config.type, config.mtu, config.ip_masq) == ("f", NetworkType.BRIDGE, 1450, True)
    assert (config.is_gateway, config.is_default_gateway) == (True, False)
    assert config.settings["cniVersion"] == "0.3.1"
    assert config.ipam == {"type": "host-local", "subnet": "10.5.72.0/24", "routes": [{"dst": "10.5.0.0/16"}]}


def test_flannel_leaves_what_the_delegate_says(tmp_path: Path) -> None:
    config = flannel(tmp_path, delegate={"type": "ptp", "mtu": 1300, "ipMasq": False})
    assert (config.type, config.mtu, config.ip_masq) == (NetworkType.PTP, 1300, False)
    masked = flannel(tmp_path, "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\nFLANNEL_IPMASQ=true\n")
    assert (masked.ip_masq, masked.mtu) == (False, 0)


@pytest.mark.parametrize(
    ("subnet", "settings", "text"),
    [
        ("", {}, "FLANNEL_NETWORK"),
        ("FLANNEL_NETWORK=x\nFLANNEL_SUBNET=y\n", {}, "subnet.env"),
        (None, {"delegate": {"ipam": {}}}, "ipam is set by flannel"),
        (None, {"delegate": {"name": "x"}}, "name is set by flannel"),
        (None, {"delegate": []}, None),
        (None, {"delegate": 1}, "delegate must be an object"),
        (None, {"delegate": {"type": "flannel"}}, "must not be flannel"),
        (None, {"delegate": {"type": "ipvlan"}}, "use macvlan"),
        (None, {"subnetFile": "/nonexistent/subnet.env"}, "flannel has to run first"),
        (None, {"subnetFile": 1}, "subnetFile must be a text"),
    ],
)
def test_flannel_networks_that_are_refused(
    tmp_path: Path, subnet: str | None, settings: dict[str, Any], text: str | None
) -> None:
    if text is None:
        assert flannel(tmp_path, subnet, **settings).type is NetworkType.BRIDGE
        return
    with pytest.raises(UserError, match=text):
        flannel(tmp_path, subnet, **settings)
