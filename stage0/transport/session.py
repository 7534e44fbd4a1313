"""The sessions of clients: connections and answers have deadlines, and redirects are left to the client."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.util.connection import allowed_gai_family

from common.deadline import TimedResponse, is_late

if TYPE_CHECKING:
    _Base = HTTPConnection
else:
    _Base = object


class _TimedAddresses(_Base):
    """Connects to the addresses of a host one after the other, until one answers or it is too late.

    By itself urllib3 tries all of them, and each may take the whole time for a connection.
    """

    def _new_conn(self) -> socket.socket:
        host = self._dns_host
        addresses = self._addresses(host)
        try:
            for address in addresses:
                self._dns_host = address
                try:
                    return super()._new_conn()
                except HTTPError:
                    if address == addresses[-1] or is_late():
                        raise
            raise AssertionError("there is an address")
        finally:
            self._dns_host = host

    def _addresses(self, host: str) -> list[str]:
        """The host itself where it has one address, or none: then urllib3 says what is wrong."""
        try:
            found = socket.getaddrinfo(host.strip("[]"), self.port, allowed_gai_family(), socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return [host]
        addresses = list(dict.fromkeys(str(item[4][0]) for item in found))
        return addresses if len(addresses) > 1 else [host]


class _Connection(_TimedAddresses, HTTPConnection):
    response_class = TimedResponse


class _SecureConnection(_TimedAddresses, HTTPSConnection):
    response_class = TimedResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_POOLS = {"http": _Pool, "https": _SecurePool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager


class Session(requests.Session):
    """A session whose answers are read by `common.deadline.deadline_of_answers`."""

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter())

    def get_redirect_target(self, resp: requests.Response) -> None:
        """None: a session that looks for it reads the whole body of a redirect, without any limit."""
