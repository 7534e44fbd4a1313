"""Names of hosts, and the time zone: files in the guest's etc, some of which every app sees in its own etc."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from stage1.apps.devices import HOSTS, HOSTS_FALLBACK, RESOLV_CONF
from stage1.host.errors import UserError, report
from stage1.host.paths import Tree
from stage1.pod.dns import Dns

HOST_ETC = "/etc"

_FILE_SIZE = 1 << 20
_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_LOOPBACK = "127.0.0.1"
_ZONE = re.compile(r"(?:.*/)?(usr/share/zoneinfo/[A-Za-z0-9_+/-]+)")


class ResolvMode(Enum):
    """Where the apps' etc/resolv.conf comes from."""

    DEFAULT = "default"
    """From the first network that says anything; otherwise the image's stays."""
    HOST = "host"
    STAGE0 = "stage0"
    """rkt has written it."""
    NONE = "none"
    """The image's stays."""


class HostsMode(Enum):
    """Where the apps' etc/hosts comes from."""

    DEFAULT = "default"
    """From the image; where it has none, one that knows the pod itself."""
    HOST = "host"
    STAGE0 = "stage0"
    """rkt has written it, and the pod's own name is added."""


@dataclass(frozen=True)
class NameService:
    """What `--dns-conf-mode` says."""

    resolv: ResolvMode = ResolvMode.DEFAULT
    hosts: HostsMode = HostsMode.DEFAULT


def parse_dns_conf_mode(text: str) -> NameService:
    """Read `resolv=MODE,hosts=MODE`; what is left out is the default. Raises `UserError`."""
    modes = dict.fromkeys(("resolv", "hosts"), "default")
    for item in filter(None, text.split(",")):
        name, _, mode = item.partition("=")
        kind: type[Enum] = ResolvMode if name == "resolv" else HostsMode
        if name not in modes or mode not in [known.value for known in kind]:
            raise UserError(
                f"--dns-conf-mode: {item[:40]!r} is neither resolv=host|stage0|none|default "
                "nor hosts=host|stage0|default"
            )
        modes[name] = mode
    return NameService(ResolvMode(modes["resolv"]), HostsMode(modes["hosts"]))


def write_name_service(image: Tree, mode: NameService, dns: Dns, hostname: str, host_etc: str = HOST_ETC) -> None:
    """Write the guest's name, and what `mode` says, into the image's tree; what an earlier start left goes.

    Raises `OSError` for the image, `UserError` for the files of the host.
    """
    image.write("etc/hostname", f"{hostname}\n")
    if mode.resolv is not ResolvMode.STAGE0:
        content = _host_file(host_etc, "resolv.conf") if mode.resolv is ResolvMode.HOST else b""
        if mode.resolv is ResolvMode.HOST and re.search(rb"^nameserver\s+(127\.|::1)", content, re.MULTILINE):
            report("warning", f"{host_etc}/resolv.conf: a name server on the host's loopback is not there for the apps")
        if mode.resolv is ResolvMode.DEFAULT and dns != Dns():
            content = _resolv_conf(dns).encode()
        _write_or_remove(image, RESOLV_CONF, content)
    if mode.hosts is HostsMode.STAGE0:
        try:
            hosts = image.read(HOSTS, limit=_FILE_SIZE).decode(errors="replace")
        except FileNotFoundError:
            hosts = _HOSTS
        image.write(HOSTS, _with_name(hosts, hostname))
    else:
        _write_or_remove(image, HOSTS, _host_file(host_etc, "hosts") if mode.hosts is HostsMode.HOST else b"")
    image.write(HOSTS_FALLBACK, _with_name(_HOSTS, hostname))


def write_time_zone(image: Tree, host_etc: str = HOST_ETC) -> None:
    """Give the guest the host's time zone, if that is set by a link to a file of the time zone database.

    Raises `OSError` for the image's tree.
    """
    link = f"{host_etc}/localtime"
    try:
        match = _ZONE.fullmatch(os.readlink(link))
        with open(link, "rb") as file:
            content = file.read(_FILE_SIZE)
    except OSError:
        return
    if match is not None:
        image.write(match[1], content)
        image.link("etc/localtime", f"../{match[1]}")


def _write_or_remove(image: Tree, name: str, content: bytes) -> None:
    if content:
        image.write(name, content)
    else:
        image.remove(name)


def _host_file(host_etc: str, name: str) -> bytes:
    path = f"{host_etc}/{name}"
    try:
        with open(path, "rb") as file:
            return file.read(_FILE_SIZE)
    except OSError as error:
        raise UserError(f"--dns-conf-mode: cannot read {path}: {error.strerror}") from error


def _resolv_conf(dns: Dns) -> str:
    lines = [f"nameserver {server}" for server in dns.nameservers]
    words: Mapping[str, tuple[str, ...]] = {
        "domain": (dns.domain,) if dns.domain else (),
        "search": dns.search,
        "options": dns.options,
    }
    lines += [f"{name} {' '.join(values)}" for name, values in words.items() if values]
    return "".join(f"{line}\n" for line in lines)


def _with_name(hosts: str, hostname: str) -> str:
    """Add the pod's own name to the addresses of a hosts file."""
    lines = hosts.splitlines()
    for number, line in enumerate(lines):
        words = line.partition("#")[0].split()
        if words and words[0] == _LOOPBACK:
            if hostname not in words:
                lines[number] = f"{line.partition('#')[0].rstrip()} {hostname}"
            break
    else:
        lines.append(f"{_LOOPBACK}\t{hostname}")
    return "".join(f"{line}\n" for line in lines)
