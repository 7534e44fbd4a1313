"""What a Linux kernel image says about itself: its version, and the options that it was built with."""

from __future__ import annotations

import bz2
import lzma
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

KERNEL_FILES = ("kernel_image", "bzImage", "vmlinux", "vmlinuz", "Image")
"""Names under which an image carries a kernel."""

_MAX_UNPACKED = 256 << 20
_BANNER = re.compile(rb"Linux version ([0-9]+\.[0-9]+[!-~]*)")
_OPTION = re.compile(r"^(CONFIG_[A-Za-z0-9_]+)=(.+)$", re.MULTILINE)
_PRINTABLE = re.compile(rb"[ -~]+")
_VERSION_OFFSET, _PAYLOAD_OFFSET = 0x20E, 0x248
_SMALLEST = _PAYLOAD_OFFSET + 8


@dataclass(frozen=True)
class KernelInfo:
    """One kernel image."""

    format: str
    """"bzImage" or "vmlinux"."""
    version: str
    """As uname -r tells it, "6.1.190"; empty where the image does not say."""
    options: Mapping[str, str] | None
    """CONFIG_ names and values; `None` where the image does not carry them (CONFIG_IKCONFIG) or not readably."""


def kernel_info(image: bytes) -> KernelInfo | None:
    """Look into a kernel image, which is not trusted. `None` for what is neither a bzImage nor an ELF file."""
    if image[0x202:0x206] == b"HdrS" and len(image) >= _SMALLEST:
        # Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"
        kernel = _unpacked(_payload(image))
        return KernelInfo("bzImage", _header_version(image) or _banner_version(kernel), _options(kernel))
    if image.startswith(b"\x7fELF"):
        return KernelInfo("vmlinux", _banner_version(image), _options(image))
    return None


def vmlinux_of(image: bytes) -> bytes:
    """The kernel inside a bzImage; empty for what is none, or is compressed as the standard library cannot read."""
    return _unpacked(_payload(image)) if image[0x202:0x206] == b"HdrS" and len(image) >= _SMALLEST else b""


def _header_version(image: bytes) -> str:
    (offset,) = struct.unpack_from("<H", image, _VERSION_OFFSET)
    match = _PRINTABLE.match(image, offset + 0x200) if offset else None
    return match[0].decode("ascii").partition(" ")[0] if match else ""


def _banner_version(kernel: bytes) -> str:
    match = _BANNER.search(kernel)
    return match[1].decode("ascii") if match else ""


def _payload(image: bytes) -> bytes:
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, _PAYLOAD_OFFSET)
    start = (setup_sectors + 1) * 512 + offset
    return image[start : start + length]


def _unpacked(payload: bytes) -> bytes:
    """The kernel inside a compressed payload; empty for a method that the standard library does not know."""
    try:
        if payload.startswith(b"\x1f\x8b"):
            return zlib.decompressobj(wbits=31).decompress(payload, _MAX_UNPACKED)
        if payload.startswith(b"\xfd7zXZ\0"):
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_UNPACKED).decompress(payload, _MAX_UNPACKED)
        if payload.startswith(b"]\0\0"):
            return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MAX_UNPACKED).decompress(payload, _MAX_UNPACKED)
        if payload.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(payload, _MAX_UNPACKED)
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        pass
    return b""


def _options(kernel: bytes) -> Mapping[str, str] | None:
    """kernel/configs.c keeps a gzip file between two marks."""
    start, end = kernel.find(b"IKCFG_ST"), kernel.find(b"IKCFG_ED")
    if not 0 <= start < end:
        return None
    try:
        text = zlib.decompressobj(wbits=31).decompress(kernel[start + 8 : end], _MAX_UNPACKED)
    except zlib.error:
        return None
    return MappingProxyType(dict(_OPTION.findall(text.decode("utf-8", "replace"))))
