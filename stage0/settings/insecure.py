"""The words of --insecure-options, which are rkt's: each switches one protection off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Flag, auto
from types import MappingProxyType

from common.errors import UserError


class Insecure(Flag):
    """Protections that are switched off."""

    NONE = 0
    IMAGE = auto()
    """Images are used without a signature, and images that cannot have one are used at all."""
    TLS = auto()
    """The certificate of a server is not checked."""
    HTTP = auto()
    """Discovery and downloads may do without TLS."""
    PUBKEY = auto()
    """Public keys may be fetched without TLS."""
    CAPABILITIES = auto()
    """Apps keep every capability."""
    PATHS = auto()
    """Apps see all of /proc and /sys."""
    SECCOMP = auto()
    """Apps may use every system call."""

    ALL_FETCH = IMAGE | TLS | HTTP | PUBKEY
    ALL_RUN = CAPABILITIES | PATHS | SECCOMP
    ALL = ALL_FETCH | ALL_RUN


WORDS: Mapping[str, Insecure] = MappingProxyType(
    {
        "none": Insecure.NONE,
        "image": Insecure.IMAGE,
        "tls": Insecure.TLS,
        "ondisk": Insecure.NONE,  # accepted and without meaning, as in rkt
        "http": Insecure.HTTP,
        "pubkey": Insecure.PUBKEY,
        "capabilities": Insecure.CAPABILITIES,
        "paths": Insecure.PATHS,
        "seccomp": Insecure.SECCOMP,
        "all-fetch": Insecure.ALL_FETCH,
        "all-run": Insecure.ALL_RUN,
        "all": Insecure.ALL,
    }
)


def parse_insecure(values: Iterable[str]) -> Insecure:
    """What the values of --insecure-options mean together; each is a word or several with commas between.

    Raises `UserError` for a word that is not known.
    """
    flags = Insecure.NONE
    for word in (word for value in values for word in value.split(",")):
        if word not in WORDS:
            raise UserError(f"--insecure-options: {word!r} is not known", hint=f"the words are {', '.join(WORDS)}")
        flags |= WORDS[word]
    return flags
