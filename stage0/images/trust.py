"""Trusting keys: found by discovery or named, shown for review, written to the keystore. The wording is rkt's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from common.errors import UserError
from common.text import clean
from stage0.images.discovery import Discovery
from stage0.keys.keystore import Keystore, check_prefix
from stage0.keys.verify import describe_keys
from stage0.syntax.urls import split_url
from stage0.transport.client import Client
from stage0.transport.messages import tell


@dataclass(frozen=True)
class Trust:
    """Adds keys to a keystore."""

    keystore: Keystore
    client: Client
    allow_http: bool = False
    """Keys may be discovered and fetched without TLS."""
    accept_https: bool = False
    """Keys that came by https are trusted without a question."""
    debug: bool = False

    def locations(self, prefix: str) -> tuple[str, ...]:
        """URLs of the keys of `prefix`, by discovery. Raises `UserError`."""
        discovery = Discovery(self.client, allow_http=self.allow_http, debug=self.debug)
        return discovery.public_keys(prefix)

    def add(self, locations: Sequence[str], prefix: str, *, review: bool = True) -> None:
        """Trust the first key of each file or URL for `prefix`, or for every image where that is empty.

        With `review` a person is asked. Raises `UserError` for what is no key, and where nobody can be asked.
        """
        if prefix:
            check_prefix(prefix)
        for location in locations:
            data = self._read(location)
            fingerprint = _show(data, location, prefix)
            ask = review and not (self.accept_https and split_url(location).scheme == "https")
            if ask and not _accepted(prefix):
                tell(f'not trusting "{location}"')
                continue
            manner = "after" if ask else "without"
            click.echo(f'Trusting "{clean(location)}" for prefix "{prefix}" {manner} fingerprint review.')
            path = self.keystore.add(fingerprint, data, prefix)
            click.echo(f'Added key for prefix "{prefix}" at "{path}"' if prefix else f'Added root key at "{path}"')

    def _read(self, location: str) -> bytes:
        scheme = split_url(location).scheme
        if scheme == "":
            try:
                return Path(location).read_bytes()
            except OSError as error:
                raise UserError(f"cannot open the key {location}: {error.strerror}") from error
        if scheme not in ("http", "https"):
            raise UserError(f"{location}: only local files and http or https URLs supported")
        if scheme == "http" and not self.allow_http:
            raise UserError(f"{location}: --insecure-allow-http required for http URLs")
        return self.client.read(location)


def grouped(fingerprint: str) -> str:
    """A fingerprint as people compare it: ten groups of four digits, a gap in the middle."""
    groups = [fingerprint[start : start + 4].upper() for start in range(0, len(fingerprint), 4)]
    return " ".join(groups[:5]) + "  " + " ".join(groups[5:])


def _show(data: bytes, location: str, prefix: str) -> str:
    """Print what a file of keys holds and return the fingerprint of the first one, as the keystore writes it."""
    keys = describe_keys(data, location)
    tell(f'prefix: "{prefix}"\nkey: "{location}"')
    for key in keys:
        click.echo(f"gpg key fingerprint is: {grouped(key.fingerprint)}")
        for subkey in key.subkeys:
            click.echo(f"    Subkey fingerprint: {grouped(subkey)}")
        for user_id in key.user_ids:
            click.echo(f"\t{clean(user_id)}")
    if len(keys) > 1:
        tell(f"only the first of these {len(keys)} keys is trusted by this file")
    return keys[0].fingerprint.lower()


def _accepted(prefix: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UserError(
            "error reviewing key: unable to ask user to review fingerprint due to lack of tty",
            hint=f'call rkt with --trust-keys-from-https, or run: rkt trust --prefix "{prefix}"',
        )
    while True:
        click.echo("Are you sure you want to trust this key (yes/no)?")
        answer = sys.stdin.readline()
        if answer == "":
            raise UserError("error reviewing key: error reading input: EOF")
        if answer in ("yes\n", "no\n"):
            return answer == "yes\n"
        click.echo("Please enter 'yes' or 'no'")
