"""The original rkt 1.30, for tests that compare."""

from __future__ import annotations

import os

import pytest

ORIGINAL = os.environ.get("MKSTAGE1_RKT", "")
"""Its program."""
needs_original = pytest.mark.skipif(not ORIGINAL, reason="MKSTAGE1_RKT does not name a binary of rkt 1.30")
