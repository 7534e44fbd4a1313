"""`rkt trust`."""

from __future__ import annotations

import click

from common.errors import UserError
from stage0.command_line.flags import Command, pass_settings
from stage0.images.trust import Trust
from stage0.keys.keystore import Keystore, open_keystore
from stage0.settings.insecure import Insecure
from stage0.settings.settings import Settings
from stage0.syntax.urls import split_url
from stage0.transport.auth import load_auth
from stage0.transport.client import Client

_UNBOUNDED = """aborting due to implicit unbounded trust (root domain)
Please provide a specific domain prefix to trust:
    rkt trust --prefix "example.com/foo" [PUBKEY]
Otherwise, trust at the root domain (not recommended) must be explicitly requested:
    rkt trust --root PUBKEY"""


@click.command(cls=Command)
@click.option("--prefix", metavar="PREFIX", default="", help="prefix to limit trust to")
@click.option("--root", is_flag=True, help="add root key from filesystem without a prefix")
@click.option("--skip-fingerprint-review", is_flag=True, help="accept key without fingerprint confirmation")
@click.option("--insecure-allow-http", is_flag=True, help="allow HTTP use for key discovery and/or retrieval")
@click.option("--list", "list_keys", is_flag=True, help="list the keys of the keystore and do nothing else")
@click.option("--remove", metavar="FINGERPRINT", default="", help="take trust back from a key for PREFIX or --root")
@click.argument("keys", metavar="[PUBKEY]...", nargs=-1)
@pass_settings
def trust(
    settings: Settings,
    prefix: str,
    root: bool,
    skip_fingerprint_review: bool,
    insecure_allow_http: bool,
    list_keys: bool,
    remove: str,
    keys: tuple[str, ...],
) -> None:
    """Trust a key for image verification.

    PUBKEY is a local file or a URL; without one the key is looked for by discovery at PREFIX. PREFIX limits the key to
    the image of that name and to those below it. With --root the key is trusted for all images.
    """
    keystore = open_keystore(settings)
    if list_keys:
        _list(keystore)
        return
    _check_scope(prefix, root, bool(keys) or bool(remove))
    if remove:
        _remove(keystore, remove, prefix)
        return
    client = Client(load_auth(settings.config_dirs), skip_tls_check=Insecure.TLS in settings.insecure)
    adding = Trust(
        keystore,
        client,
        allow_http=insecure_allow_http,
        accept_https=settings.trust_keys_from_https,
        debug=settings.debug,
    )
    if not keys and root:
        raise UserError("error determining key location: empty prefix", hint="--root needs a key file")
    adding.add(keys or adding.locations(prefix), prefix, review=not skip_fingerprint_review)


def _check_scope(prefix: str, root: bool, with_keys: bool) -> None:
    if prefix and root:
        raise UserError("--root and --prefix usage mutually exclusive")
    if not prefix and not root:
        if with_keys:
            raise UserError(_UNBOUNDED)
        raise click.UsageError("--prefix or --root is required")
    scheme = split_url(prefix).scheme
    if scheme:
        raise UserError(f"--prefix must not contain a URL scheme, omit {scheme}://")


def _list(keystore: Keystore) -> None:
    for entry in keystore.entries():
        state = "masked" if entry.masks else "trusted"
        click.echo(f"{entry.fingerprint}\t{entry.prefix or '(every image)'}\t{state}\t{entry.path}")


def _remove(keystore: Keystore, fingerprint: str, prefix: str) -> None:
    plain = fingerprint.replace(" ", "").removeprefix("0x").lower()
    path = keystore.remove(plain, prefix)
    scope = f'prefix "{prefix}"' if prefix else "every image"
    click.echo(f'Masked key for {scope} by "{path}"' if path.exists() else f'Removed key for {scope} at "{path}"')
