"""The metadata service (appc spec 0.8.11, App Container Metadata Service), and how pods are registered with it."""

from __future__ import annotations

from pathlib import Path

SOCKET = Path("/run/rkt/metadata-svc.sock")
"""Where pods are registered, as in rkt."""
PORT = 18112
"""Where apps ask, as in rkt."""
