"""Which certificates of authorities count: those of the host, as for every other program of it."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def host_certificates() -> str | bool:
    """The certificates of the host, as a file or folder; only where there are none those that requests brings."""
    for name in _VARIABLES:
        if os.environ.get(name):
            return os.environ[name]
    paths = ssl.get_default_verify_paths()
    bundle = Path(paths.capath or paths.openssl_capath) / "ca-certificates.crt"
    return next((str(path) for path in (paths.cafile, bundle, paths.capath) if path and Path(path).exists()), True)
