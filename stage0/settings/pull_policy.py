"""When images are looked for elsewhere than in the store."""

from __future__ import annotations

from enum import StrEnum


class PullPolicy(StrEnum):
    """When an image is looked for elsewhere than in the store."""

    NEVER = "never"
    NEW = "new"
    """Where the store does not have it."""
    UPDATE = "update"
    """Always, with the question whether what the store has is still the same."""
