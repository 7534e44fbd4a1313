from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage1.host.errors import UserError
from stage1.pod.ports import Port, PortForward, app_ports, check_activated_ports, forwarded_ports

HTTP = Port("http", "tcp", 80, 1, False)


def test_ports_of_an_app() -> None:
    value = [
        {"name": "http", "protocol": "tcp", "port": 80, "count": 1, "socketActivated": False},
        {"name": "many", "protocol": "udp", "port": 5000, "count": 3, "unknown": 1},
        {"name": "active", "protocol": "tcp", "port": 81, "socketActivated": True},
    ]
    assert app_ports(value, "app a") == (HTTP, Port("many", "udp", 5000, 3, False), Port("active", "tcp", 81, 1, True))
    assert app_ports(None, "app a") == app_ports([], "app a") == ()


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"name": "a", "protocol": "sctp", "port": 1}, "'sctp' is neither tcp nor udp"),
        ({"name": "a", "protocol": "tcp", "port": 0}, "0 is not a number from 1 to 65535"),
        ({"name": "a", "protocol": "tcp", "port": 65536}, "65536 is not"),
        ({"name": "a", "protocol": "tcp", "port": True}, "True is not"),
        ({"name": "a", "protocol": "tcp", "port": "80; drop"}, "'80; drop' is not"),
        ({"name": "a", "protocol": "tcp", "port": 65535, "count": 2}, "count: 2 is not a number from 1 to 1"),
        ({"name": "a", "protocol": "tcp", "port": 10**400}, "is not a number"),
        ({"name": 1, "protocol": "tcp", "port": 1}, "name must be a text"),
        ("text", "a JSON object is expected"),
    ],
)
def test_ports_of_an_app_that_are_refused(entry: Any, text: str) -> None:
    with pytest.raises(UserError, match=text):
        app_ports([entry], "app a")
    with pytest.raises(UserError, match="must be a JSON array"):
        app_ports({}, "app a")


def test_ports_are_matched_by_name() -> None:
    value = [
        {"name": "http", "hostPort": 8080},
        {"name": "http", "hostPort": 8080, "hostIP": "192.0.2.1", "unknown": None},
    ]
    assert forwarded_ports(value[:1], [HTTP]) == (PortForward("tcp", None, 8080, 80),)
    assert forwarded_ports(value[1:], [HTTP]) == (PortForward("tcp", IPv4Address("192.0.2.1"), 8080, 80),)
    assert forwarded_ports([{"name": "http", "hostPort": 1, "hostIP": "0.0.0.0"}], [HTTP])[0].host_ip is None
    assert forwarded_ports(None, [HTTP]) == ()


def test_a_port_of_the_pod_itself_needs_no_app() -> None:
    own = {"name": "dns", "protocol": "udp", "port": 53}
    assert forwarded_ports([{"name": "x", "hostPort": 5353, "podPort": own}], []) == (
        PortForward("udp", None, 5353, 53),
    )


def test_ranges_and_socket_activation() -> None:
    ports = [Port("many", "udp", 5000, 3, False), Port("active", "tcp", 81, 1, True)]
    value = [{"name": "many", "hostPort": 6000}, {"name": "active", "hostPort": 81}]
    assert [(one.host_port, one.pod_port) for one in forwarded_ports(value, ports)] == [
        (6000, 5000),
        (6001, 5001),
        (6002, 5002),
        (81, 81),
    ]
    assert list(ports[0].numbers) == [5000, 5001, 5002]


def test_socket_activated_ports_are_there_once() -> None:
    http, same = Port("http", "tcp", 80, 1, True), Port("range", "tcp", 79, 2, True)
    check_activated_ports([http, Port("dns", "udp", 80, 1, True), Port("own", "tcp", 80, 1, False)])
    with pytest.raises(UserError, match="tcp port 80 of the pod is socket activated twice"):
        check_activated_ports([http, same])
    with pytest.raises(UserError, match="1025 socket activated ports are more than the 1024"):
        check_activated_ports([http, Port("wide", "udp", 1, 1024, True)])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([{"name": "no", "hostPort": 1}], "no app has a port with the name 'no'"),
        ([{"name": "twice", "hostPort": 1}], "more than one app has a port with the name 'twice'"),
        ([{"name": ["http"], "hostPort": 1}], "no app has"),
        ([{"name": "http"}], "hostPort: None is not a number"),
        ([{"name": "http", "hostPort": 1, "hostIP": "::1"}], "'::1' is not an IPv4 address"),
        ([{"name": "http", "hostPort": 1, "hostIP": "1.2.3.4; drop"}], "not an IPv4 address"),
        ([{"name": "http", "hostPort": 1, "hostIP": {"a": []}}], "a JSON array or object is not an IPv4 address"),
        ([{"name": "http", "hostPort": 1, "hostIP": 16909060}], "16909060 is not an IPv4 address"),
        ([{"name": "http", "hostPort": 1}, {"name": "http", "hostPort": 1}], "tcp port 1 of the host is mapped twice"),
        (
            [{"name": "http", "hostPort": 1, "hostIP": "1.2.3.4"}, {"name": "http", "hostPort": 1}],
            "tcp port 1 of the host is mapped twice",
        ),
        ([{"name": "wide", "hostPort": 1000}], "1025 ports are more than the 1024"),
        ([{"name": "wide", "hostPort": 65000}], "65000 is not a number from 1 to 64511"),
        ([1], "a JSON object is expected"),
        ({}, "must be a JSON array"),
    ],
)
def test_mappings_that_are_refused(value: Any, text: str) -> None:
    twice = Port("twice", "tcp", 1, 1, False)
    with pytest.raises(UserError, match=text):
        forwarded_ports(value, [HTTP, twice, twice, Port("wide", "udp", 1, 1025, False)])


def test_one_port_on_two_addresses_is_no_conflict() -> None:
    value = [{"name": "http", "hostPort": 1, "hostIP": address} for address in ("1.2.3.4", "1.2.3.5")]
    assert len(forwarded_ports(value, [HTTP])) == 2
    udp = [{"name": "http", "hostPort": 1}, {"name": "dns", "hostPort": 1}]
    assert len(forwarded_ports(udp, [HTTP, Port("dns", "udp", 53, 1, False)])) == 2


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "protocol", "port", "count", "hostPort", "hostIP", "podPort"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON)
def test_any_json_is_read_or_refused(ports: Any, mappings: Any) -> None:
    try:
        forwards = forwarded_ports(mappings, app_ports(ports, "app a"))
    except UserError as error:
        assert len(str(error)) < 400
        return
    for forward in forwards:
        assert 1 <= forward.host_port <= 65535
        assert 1 <= forward.pod_port <= 65535
