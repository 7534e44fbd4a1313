from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.formats.kernel_image import KERNEL_FILES, kernel_info, vmlinux_of
from builder.plan import KERNEL_IMAGE

CONFIG = b'# comment\nCONFIG_9P_FS=y\n# CONFIG_MODULES is not set\nCONFIG_DEFAULT_HOSTNAME="rkt"\n'
OPTIONS = {"CONFIG_9P_FS": "y", "CONFIG_DEFAULT_HOSTNAME": '"rkt"'}
VMLINUX = (
    b"\x7fELF"
    + bytes(100)
    + b"Linux version 6.1.190 (user@host) #1\0IKCFG_ST"
    + gzip.compress(CONFIG, mtime=0)
    + b"IKCFG_ED"
    + bytes(50)
)


def bzimage(payload: bytes, version: bytes = b"6.1.190 (user@host) #1 SMP\0") -> bytes:
    """The fields of the header that matter, in a setup part of two sectors (boot.rst)."""
    setup = bytearray(3 * 512)
    setup[0x1F1] = 2
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x20E, 0x100 if version else 0)
    setup[0x300 : 0x300 + len(version)] = version
    struct.pack_into("<II", setup, 0x248, 64, len(payload))
    return bytes(setup) + bytes(64) + payload + bytes(16)


@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    ],
)
def test_a_bzimage_is_opened(compress: Callable[[bytes], bytes]) -> None:
    info = kernel_info(bzimage(compress(VMLINUX) + struct.pack("<I", len(VMLINUX))))
    assert info is not None
    assert (info.format, info.version, info.options) == ("bzImage", "6.1.190", OPTIONS)


def test_the_kernel_inside_a_bzimage() -> None:
    assert vmlinux_of(bzimage(gzip.compress(VMLINUX))) == VMLINUX
    assert vmlinux_of(bzimage(b"no compression")) == vmlinux_of(VMLINUX) == b""


def test_the_kernel_of_our_images_is_looked_at() -> None:
    assert KERNEL_IMAGE in KERNEL_FILES


def test_a_vmlinux_is_read_as_it_is() -> None:
    info = kernel_info(VMLINUX)
    assert info is not None
    assert (info.format, info.version, info.options) == ("vmlinux", "6.1.190", OPTIONS)


def test_the_version_falls_back_to_the_banner() -> None:
    info = kernel_info(bzimage(gzip.compress(VMLINUX), version=b""))
    assert info is not None
    assert info.version == "6.1.190"


@pytest.mark.parametrize(
    "payload", [b"\x28\xb5\x2f\xfd" + bytes(40), b"\x1f\x8b" + bytes(40), b"", gzip.compress(b"x", mtime=0)]
)
def test_options_that_cannot_be_read_are_none(payload: bytes) -> None:
    info = kernel_info(bzimage(payload))
    assert info is not None
    assert (info.version, info.options) == ("6.1.190", None)


@pytest.mark.parametrize("config", [b"IKCFG_STrubbishIKCFG_ED", b"IKCFG_EDIKCFG_ST", b"IKCFG_ST"])
def test_a_damaged_configuration_is_none(config: bytes) -> None:
    info = kernel_info(b"\x7fELF" + config)
    assert info is not None
    assert (info.version, info.options) == ("", None)


@pytest.mark.parametrize("data", [b"", b"MZ", bytes(0x202) + b"HdrS", b"#!/bin/sh\n"])
def test_what_is_no_kernel_is_none(data: bytes) -> None:
    assert kernel_info(data) is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(min_size=0x10, max_size=0x60), st.binary(max_size=200))
def test_rubbish_in_the_header_does_no_harm(fields: bytes, payload: bytes) -> None:
    image = bytearray(bzimage(payload))
    image[0x206 : 0x206 + len(fields)] = fields
    info = kernel_info(bytes(image))
    assert info is not None
    assert info.options is None
