from pathlib import Path

import pytest

from stage1.apps.name_service import (
    HostsMode,
    NameService,
    ResolvMode,
    parse_dns_conf_mode,
    write_name_service,
    write_time_zone,
)
from stage1.host.errors import UserError
from stage1.host.paths import Tree
from stage1.pod.dns import Dns

DNS = Dns(nameservers=("192.0.2.1", "192.0.2.2"), domain="example.com", search=("a", "b"), options=("ndots:2",))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "image/etc").mkdir(parents=True)
    return tmp_path / "image"


@pytest.fixture
def host_etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "resolv.conf").write_text("nameserver 198.51.100.1\n")
    (folder / "hosts").write_text("198.51.100.2 host\n")
    return folder


def write(image: Path, host_etc: Path, mode: str = "", dns: Dns = DNS, hostname: str = "box") -> None:
    write_name_service(Tree(str(image)), parse_dns_conf_mode(mode), dns, hostname, str(host_etc))


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("", NameService()),
        ("resolv=host,hosts=stage0", NameService(ResolvMode.HOST, HostsMode.STAGE0)),
        ("hosts=host", NameService(ResolvMode.DEFAULT, HostsMode.HOST)),
        ("resolv=none", NameService(ResolvMode.NONE, HostsMode.DEFAULT)),
    ],
)
def test_modes(text: str, mode: NameService) -> None:
    assert parse_dns_conf_mode(text) == mode


@pytest.mark.parametrize("text", ["resolv", "resolv=", "resolv=other", "hosts=none", "dns=host", "host"])
def test_bad_modes(text: str) -> None:
    with pytest.raises(UserError, match="--dns-conf-mode"):
        parse_dns_conf_mode(text)


def test_by_default_the_network_says_it(image: Path, host_etc: Path) -> None:
    write(image, host_etc)
    assert (image / "etc/rkt-resolv.conf").read_text() == (
        "nameserver 192.0.2.1\nnameserver 192.0.2.2\ndomain example.com\nsearch a b\noptions ndots:2\n"
    )
    assert (image / "etc/hosts-fallback").read_text().startswith("127.0.0.1\tlocalhost box\n::1\t")
    assert not (image / "etc/rkt-hosts").exists()
    assert (image / "etc/hostname").read_text() == "box\n"


@pytest.mark.parametrize(("mode", "dns"), [("", Dns()), ("resolv=none", DNS)])
def test_what_an_earlier_start_left_goes(image: Path, host_etc: Path, mode: str, dns: Dns) -> None:
    (image / "etc/rkt-resolv.conf").write_text("old")
    (image / "etc/rkt-hosts").write_text("old")
    write(image, host_etc, mode, dns)
    assert not (image / "etc/rkt-resolv.conf").exists()
    assert not (image / "etc/rkt-hosts").exists()


def test_files_of_the_host(image: Path, host_etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(image, host_etc, "resolv=host,hosts=host")
    assert (image / "etc/rkt-resolv.conf").read_text() == "nameserver 198.51.100.1\n"
    assert (image / "etc/rkt-hosts").read_text() == "198.51.100.2 host\n"
    assert capsys.readouterr().err == ""


def test_a_name_server_on_the_hosts_loopback(image: Path, host_etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (host_etc / "resolv.conf").write_text("search a\nnameserver 127.0.0.53\n")
    write(image, host_etc, "resolv=host")
    assert "loopback" in capsys.readouterr().err


def test_files_that_the_host_does_not_have(image: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*hosts"):
        write(image, tmp_path / "nowhere", "hosts=host")


def test_files_of_rkt_stay(image: Path, host_etc: Path) -> None:
    (image / "etc/rkt-resolv.conf").write_text("nameserver 203.0.113.1\n")
    (image / "etc/rkt-hosts").write_text("127.0.0.1 localhost # here\n203.0.113.2 db\n")
    for _ in range(2):
        write(image, host_etc, "resolv=stage0,hosts=stage0")
        assert (image / "etc/rkt-resolv.conf").read_text() == "nameserver 203.0.113.1\n"
        assert (image / "etc/rkt-hosts").read_text() == "127.0.0.1 localhost box\n203.0.113.2 db\n"


def test_a_hosts_file_that_rkt_did_not_write(image: Path, host_etc: Path) -> None:
    write(image, host_etc, "hosts=stage0")
    assert (image / "etc/rkt-hosts").read_text().startswith("127.0.0.1\tlocalhost box\n")


def test_a_hosts_file_without_loopback_gets_it(image: Path, host_etc: Path) -> None:
    (image / "etc/rkt-hosts").write_text("203.0.113.2 db\n")
    write(image, host_etc, "hosts=stage0")
    assert (image / "etc/rkt-hosts").read_text() == "203.0.113.2 db\n127.0.0.1\tbox\n"


def test_a_planted_link_is_replaced(image: Path, host_etc: Path) -> None:
    victim = host_etc / "victim"
    victim.write_text("untouched")
    for name in ("rkt-resolv.conf", "hosts-fallback", "hostname"):
        (image / "etc" / name).symlink_to(victim)
    write(image, host_etc)
    assert victim.read_text() == "untouched"


def test_the_time_zone(image: Path, host_etc: Path, tmp_path: Path) -> None:
    zone = tmp_path / "usr/share/zoneinfo/Europe/Berlin"
    zone.parent.mkdir(parents=True)
    zone.write_bytes(b"TZif\xff")
    (host_etc / "localtime").symlink_to("../usr/share/zoneinfo/Europe/Berlin")
    write_time_zone(Tree(str(image)), str(host_etc))
    assert (image / "etc/localtime").read_bytes() == b"TZif\xff"
    assert (image / "usr/share/zoneinfo/Europe/Berlin").is_file()


@pytest.mark.parametrize("target", ["", "/etc/passwd", "../usr/share/zoneinfo/../../../etc/passwd"])
def test_what_is_no_time_zone(image: Path, host_etc: Path, target: str) -> None:
    if target:
        (host_etc / "localtime").symlink_to(target)
    write_time_zone(Tree(str(image)), str(host_etc))
    assert list(image.rglob("localtime")) == []
    assert not (image / "usr").exists()
