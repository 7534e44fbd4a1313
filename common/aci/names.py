"""What the parts of an image are called (appc spec 0.8.11, Image Archives), and how its ID is shortened."""

from __future__ import annotations

MANIFEST = "manifest"
ROOTFS = "rootfs"


def store_key(image_id: str) -> str:
    """Shorten an image ID to the key of rkt's store: "sha512-" and 64 hex digits."""
    return image_id[: len("sha512-") + 64]
