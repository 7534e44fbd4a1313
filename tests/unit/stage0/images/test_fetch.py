"""`rkt fetch` as a whole: what servers may do, and what is then in the store."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from common.errors import UserError
from stage0 import cli
from stage0.commands import fetch as command
from stage0.images.fetch import Fetcher
from stage0.settings.insecure import Insecure
from stage0.settings.limits import Limits
from stage0.settings.pull_policy import PullPolicy
from stage0.settings.settings import Flags, Settings, resolve
from stage0.store import Store
from stage0.transport.download import sweep_downloads
from tests.support.image_server import Request, Route, Site, content, endless, redirect, status, truncated
from tests.support.signers import Signers, make_aci

ACI = "https://cdn.example.com/app-1-linux-amd64.aci"
ASC = f"{ACI}.asc"
PAGE = "https://example.com/app?ac-discovery=1"
NAME = "example.com/app:1,arch=amd64"
TAGS = b"""<html><head>
<meta name="ac-discovery" content="example.com https://cdn.example.com/app-{version}-{os}-{arch}.{ext}">
<meta name="ac-discovery-pubkeys" content="example.com https://example.com/keys.gpg">
</head></html>"""
LIMITS = Limits(stall_seconds=60, redirects=4, small_bytes=1 << 16, image_bytes=1 << 20, attempts=3)


@dataclass
class World:
    """A server with a signed image, a keystore that trusts its signer, and an empty store."""

    site: Site
    signers: Signers
    settings: Settings
    aci: bytes

    def fetch(self, image: str, policy: PullPolicy = PullPolicy.UPDATE, signature: Path | None = None) -> str:
        with Store(self.settings.data_dir) as store:
            return Fetcher(self.settings, store, policy, LIMITS).fetch(image, signature)

    def serve(self, aci: bytes, signature: bytes) -> None:
        self.site.routes |= {PAGE: content(TAGS), ACI: content(aci), ASC: content(signature)}

    @property
    def stored(self) -> list[str]:
        with Store(self.settings.data_dir) as store:
            return [image.name for image in store.list()]

    @property
    def left_behind(self) -> list[str]:
        return sorted(path.name for path in (self.settings.store_dir / "tmp").iterdir())


@pytest.fixture
def world(site: Site, signers: Signers, tmp_path: Path) -> World:
    local = tmp_path / "local"
    flags = Flags(tmp_path / "data", tmp_path / "system", local, insecure=Insecure.NONE)
    world = World(site, signers, resolve(flags, {}, 0), make_aci())
    signers.trust(local, signers.good, "example.com/app")
    world.serve(world.aci, signers.sign(world.aci, signers.good))
    return world


def insecure(world: World, flags: Insecure) -> None:
    settings = world.settings
    world.settings = Settings(**{**vars(settings), "insecure": flags})


def test_a_name_is_discovered_verified_and_stored(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    image_id = world.fetch(NAME)
    assert world.stored == ["example.com/app"]
    with Store(world.settings.data_dir) as store:
        assert store.find("example.com/app", {"version": "1"}) == image_id
    assert world.site.urls == [PAGE, ASC, ACI]
    assert world.left_behind == []
    err = capfd.readouterr().err
    assert f"rkt: searching for app image {NAME}\n" in err
    assert re.search(r"^Downloading signature: \d+ B/\d+ B$", err, re.MULTILINE)
    assert re.search(r"^Downloading ACI: \d+ B/\d+ B$", err, re.MULTILINE)
    assert "rkt: signature verified:\n  Good Signer <good@example.com>\n" in err


def test_a_url_is_verified_with_the_signature_beside_it(world: World) -> None:
    world.fetch(ACI)
    assert world.stored == ["example.com/app"]
    assert world.site.urls == [ASC, ACI]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("none.aci", "No such file"), ("folder.aci", "not a regular file"), ("x" * 300 + ".aci", "File name too long")],
)
def test_a_file_that_cannot_be_opened_is_named(name: str, reason: str, world: World, tmp_path: Path) -> None:
    (tmp_path / "folder.aci").mkdir()
    for flags in (Insecure.NONE, Insecure.IMAGE):
        insecure(world, flags)
        with pytest.raises(UserError, match=f"cannot open the image .*: {reason}"):
            world.fetch(str(tmp_path / name))


def test_a_file_is_verified_with_the_signature_beside_it_or_the_one_given(world: World, tmp_path: Path) -> None:
    image = tmp_path / "app.aci"
    image.write_bytes(world.aci)
    with pytest.raises(UserError, match=r"cannot open the signature .*app\.aci\.asc") as caught:
        world.fetch(str(image))
    assert "--insecure-options=image" in caught.value.hint
    signature = world.signers.sign(world.aci, world.signers.good, armor=False)
    (tmp_path / "other.sig").write_bytes(signature)
    first = world.fetch(str(image), signature=tmp_path / "other.sig")
    (tmp_path / "app.aci.asc").write_bytes(signature)
    assert world.fetch(str(image)) == first
    assert world.stored == ["example.com/app"]


def _change(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def _wrong_key(world: World) -> None:
    world.serve(world.aci, world.signers.sign(world.aci, world.signers.stranger))


def _tampered_image(world: World) -> None:
    world.serve(_change(world.aci), world.signers.sign(world.aci, world.signers.good))


def _tampered_signature(world: World) -> None:
    world.serve(world.aci, _change(world.signers.sign(world.aci, world.signers.good, armor=False)))


def _no_signature(world: World) -> None:
    world.site.routes[ASC] = status(404)


def _signature_of_words(world: World) -> None:
    world.serve(world.aci, b"<html>log in first</html>")


def _expired_key(world: World) -> None:
    world.signers.trust(world.settings.local_config, world.signers.expiring, "example.com/app")
    world.serve(world.aci, world.signers.sign(world.aci, world.signers.expiring))


def _revoked_key(world: World) -> None:
    lost, signature = world.signers.make_lost(world.aci)
    world.signers.trust(world.settings.local_config, lost, "example.com/app")
    world.serve(world.aci, signature)


def _signature_over_sha1(world: World) -> None:
    world.serve(world.aci, world.signers.sign(world.aci, world.signers.good, "--digest-algo", "SHA1"))


def _signature_over_md5(world: World) -> None:
    weak = ("--digest-algo", "MD5", "--allow-weak-digest-algos")
    world.serve(world.aci, world.signers.sign(world.aci, world.signers.good, *weak))
    world.site.routes[ACI] = status(404)  # it is seen before the image is downloaded


def _key_of_another_name(world: World) -> None:
    world.signers.trust(world.settings.local_config, world.signers.stranger, "example.com/other")
    world.serve(world.aci, world.signers.sign(world.aci, world.signers.stranger))


def _image_of_another_name(world: World) -> None:
    world.signers.trust(world.settings.local_config, world.signers.good, "example.com/other")
    aci = make_aci("example.com/other")
    world.serve(aci, world.signers.sign(aci, world.signers.good))


def _another_version(world: World) -> None:
    aci = make_aci(labels={"os": "linux", "arch": "amd64", "version": "2"})
    world.serve(aci, world.signers.sign(aci, world.signers.good))


def _no_version(world: World) -> None:
    aci = make_aci(labels={"os": "linux", "arch": "amd64"})
    world.serve(aci, world.signers.sign(aci, world.signers.good))


def _signed_words(world: World) -> None:
    world.serve(b"no image at all", world.signers.sign(b"no image at all", world.signers.good))


def _leave_https(world: World) -> None:
    world.site.routes[ACI] = redirect("http://cdn.example.com/app.aci")
    world.site.routes["http://cdn.example.com/app.aci"] = content(world.aci)


def _page_leaves_https(world: World) -> None:
    world.site.routes[PAGE] = redirect("http://example.com/app")
    world.site.routes["http://example.com/app"] = content(TAGS)


def _template_without_https(world: World) -> None:
    world.site.routes[PAGE] = content(TAGS.replace(b"https://cdn", b"http://cdn"))
    world.site.routes["http://cdn.example.com/app-1-linux-amd64.aci"] = content(world.aci)


def _endless_redirect(world: World) -> None:
    world.site.routes[ACI] = redirect(ACI)


def _endless_image(world: World) -> None:
    world.site.routes[ACI] = endless


def _endless_signature(world: World) -> None:
    world.site.routes[ASC] = endless


def _endless_page(world: World) -> None:
    world.site.routes[PAGE] = endless


def _huge_image(world: World) -> None:
    world.site.routes[ACI] = truncated(b"", 1 << 40)


def _truncated_image(world: World) -> None:
    world.site.routes[ACI] = truncated(world.aci[:100], len(world.aci))


def _stalled_image(world: World) -> None:
    world.site.routes[ACI] = world.site.stall


def _server_error(world: World) -> None:
    world.site.routes[ACI] = status(503)


FAULTS: list[tuple[Callable[[World], None], str]] = [
    (_wrong_key, "signature made by unknown entity: .*it was made by an unknown key"),
    (_tampered_image, "the signature does not fit the file"),
    (_tampered_signature, "no OpenPGP signature|the signature does not fit the file"),
    (_no_signature, "error downloading the signature file: .*bad HTTP status code: 404"),
    (_signature_of_words, "the file holds no OpenPGP signature"),
    (_expired_key, "the signing key has expired"),
    (_revoked_key, "the signing key was revoked"),
    (_signature_over_sha1, "the signature is over SHA-1, which is not accepted"),
    (_signature_over_md5, "the signature is over MD5, which is not accepted"),
    (_key_of_another_name, "signature made by unknown entity: .*it was made by an unknown key"),
    (_image_of_another_name, "error when reading the app name: 'example.com/app' expected but 'example.com/other'"),
    (_another_version, "requested value for label 'version': '1' differs from fetched aci label value: '2'"),
    (_no_version, "requested label 'version' not provided"),
    (_signed_words, "is not an image"),
    (_leave_https, "redirected to http://cdn.example.com/app.aci, which is not https"),
    (_page_leaves_https, "discovery failed for 'example.com/app'"),
    (_template_without_https, "led to http://cdn.example.com/.*, which is not https"),
    (_endless_redirect, "too many redirects"),
    (_endless_image, "does not end after 1048576 bytes"),
    (_endless_signature, "does not end after 65536 bytes"),
    (_endless_page, "discovery failed for 'example.com/app'"),
    (_huge_image, "has 1099511627776 bytes, more than the 1048576"),
    (_truncated_image, "broke off"),
    (_stalled_image, "the server stalls|does not answer in time"),
    (_server_error, "bad HTTP status code: 503"),
]


@pytest.mark.parametrize(("prepare", "message"), FAULTS, ids=[fault.__name__[1:] for fault, _ in FAULTS])
def test_a_fault_is_one_clear_line_and_leaves_nothing(
    prepare: Callable[[World], None],
    message: str,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    prepare(world)
    limits = replace(LIMITS, stall_seconds=3) if prepare is _stalled_image else LIMITS
    monkeypatch.setattr(command, "Fetcher", functools.partial(Fetcher, limits=limits))
    settings = world.settings
    flags = [
        f"--{name}={path}"
        for name, path in (
            ("dir", settings.data_dir),
            ("local-config", settings.local_config),
            ("system-config", settings.system_config),
        )
    ]
    monkeypatch.setattr(sys, "argv", ["rkt", *flags, "fetch", NAME])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 254
    captured = capfd.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("rkt: error: ")]
    assert len(lines) == 1 and re.search(message, lines[0]), captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert world.stored == []
    assert not list((settings.store_dir / "images").iterdir())


def test_a_strangers_signature_ends_it_before_the_image_is_downloaded(world: World) -> None:
    _wrong_key(world)
    with pytest.raises(UserError, match="unknown entity") as caught:
        world.fetch(NAME)
    assert 'rkt trust --prefix "example.com/app"' in caught.value.hint
    assert ACI not in world.site.urls


def test_a_url_is_trusted_only_by_a_key_for_the_name_in_the_image(world: World) -> None:
    """The signature is good and its key is in the keystore: the name decides."""
    _key_of_another_name(world)
    with pytest.raises(UserError, match=r"which is not trusted for 'example\.com/app'"):
        world.fetch(ACI)
    assert world.stored == []


def test_a_download_that_breaks_off_goes_on_where_it_ended(world: World) -> None:
    half = len(world.aci) // 2

    def route(request: Request) -> None:
        if request.headers.get("Range") == f"bytes={half}-" and request.headers.get("If-Range") == '"one"':
            extra = {"Content-Range": f"bytes {half}-{len(world.aci) - 1}/{len(world.aci)}", "ETag": '"one"'}
            request.answer(206, world.aci[half:], extra)
        else:
            truncated(world.aci[:half], len(world.aci), ETag='"one"')(request)

    world.site.routes[ACI] = route
    world.fetch(NAME)
    assert world.stored == ["example.com/app"]
    assert len(world.site.headers_of(ACI)) == 2
    assert world.left_behind == []


def test_all_attempts_share_one_time(world: World) -> None:
    """A server that breaks off after every other byte would keep each attempt busy."""
    world.site.routes[ACI] = world.site.trickle(b'HTTP/1.1 200 OK\r\nETag: "a"\r\nContent-Length: 1000\r\n\r\n', b"a")
    limits = replace(LIMITS, image_seconds=0.5, attempts=1000)
    with Store(world.settings.data_dir) as store, pytest.raises(UserError, match=r"stalls|in time|longer than"):
        Fetcher(world.settings, store, PullPolicy.NEW, limits).fetch(NAME)
    assert len(world.site.headers_of(ACI)) == 1


def test_a_later_run_goes_on_with_what_is_there(world: World) -> None:
    half = len(world.aci) // 2
    world.site.routes[ACI] = truncated(world.aci[:half], len(world.aci), ETag='"one"')
    once = Limits(attempts=1)
    with Store(world.settings.data_dir) as store, pytest.raises(UserError, match="broke off"):
        Fetcher(world.settings, store, PullPolicy.NEW, once).fetch(NAME)
    assert len(world.left_behind) == 2

    def rest(request: Request) -> None:
        assert request.headers["Range"] == f"bytes={half}-"
        extra = {"Content-Range": f"bytes {half}-{len(world.aci) - 1}/{len(world.aci)}", "ETag": '"one"'}
        request.answer(206, world.aci[half:], extra)

    world.site.routes[ACI] = rest
    world.fetch(NAME)
    assert world.stored == ["example.com/app"]
    assert world.left_behind == []


def test_what_nobody_goes_on_with_is_swept_in_the_end(world: World) -> None:
    world.site.routes[ACI] = truncated(world.aci[:50], len(world.aci), ETag='"one"')
    with pytest.raises(UserError, match="broke off"):
        world.fetch(NAME)
    scratch = world.settings.store_dir / "tmp"
    kept = world.left_behind
    sweep_downloads(scratch)
    assert world.left_behind == kept != []
    for path in scratch.iterdir():
        os.utime(path, (0, 0))
    sweep_downloads(scratch)
    assert world.left_behind == []


def test_a_file_that_changed_meanwhile_is_downloaded_from_the_start(world: World) -> None:
    world.site.routes[ACI] = truncated(b"something else", 1000, ETag='"old"')
    with pytest.raises(UserError, match="broke off"):
        world.fetch(NAME)
    world.site.routes[ACI] = content(world.aci, ETag='"new"')
    world.fetch(NAME)
    assert world.site.headers_of(ACI)[-1]["If-Range"] == '"old"'
    assert world.stored == ["example.com/app"]


def test_what_came_is_thrown_away_where_nothing_tells_whether_it_still_fits(world: World) -> None:
    _truncated_image(world)
    with pytest.raises(UserError, match="broke off"):
        world.fetch(NAME)
    assert world.left_behind == []


def _conditional(body: bytes, etag: str, **headers: str) -> Route:
    def route(request: Request) -> None:
        extra = {"ETag": etag, **{name.replace("_", "-"): value for name, value in headers.items()}}
        known = request.headers.get("If-None-Match") == etag
        request.answer(304 if known else 200, b"" if known else body, extra)

    return route


def test_an_image_that_did_not_change_is_not_downloaded_again(world: World) -> None:
    world.site.routes[ACI] = _conditional(world.aci, '"one"')
    first = world.fetch(NAME)
    assert world.fetch(NAME) == first
    assert [headers.get("If-None-Match") for headers in world.site.headers_of(ACI)] == [None, '"one"']


def test_a_server_is_not_asked_for_as_long_as_it_said(world: World) -> None:
    world.site.routes[ACI] = content(world.aci, Cache_Control="public, max-age=86400")
    first = world.fetch(NAME)
    assert world.fetch(NAME) == first
    assert len(world.site.headers_of(ACI)) == 1


def test_an_image_taken_without_signature_is_not_the_answer_when_one_is_asked_for(world: World) -> None:
    world.site.routes[ACI] = _conditional(world.aci, '"one"', Cache_Control="max-age=86400")
    insecure(world, Insecure.IMAGE)
    world.fetch(NAME)
    assert ASC not in world.site.urls
    insecure(world, Insecure.NONE)
    world.fetch(NAME)
    assert ASC in world.site.urls
    assert len(world.site.headers_of(ACI)) == 2


def test_what_came_from_a_url_before_is_no_answer_to_another_question(world: World) -> None:
    world.site.routes[PAGE] = content(TAGS.replace(b"-{version}-{os}-{arch}", b"-1-linux-amd64"))
    world.site.routes[ACI] = content(world.aci, Cache_Control="max-age=86400")
    world.fetch(NAME)
    second = make_aci(labels={"os": "linux", "arch": "amd64", "version": "2"})
    world.site.routes |= {ACI: content(second), ASC: content(world.signers.sign(second, world.signers.good))}
    image_id = world.fetch("example.com/app:2,arch=amd64")
    with Store(world.settings.data_dir) as store:
        assert store.find("example.com/app", {"version": "2"}) == image_id


def test_who_comes_second_takes_what_the_first_one_brought(world: World) -> None:
    """Two runs at once: the server is asked for the image by one of them."""
    second: list[str] = []

    def page(request: Request) -> None:
        if not second:
            second.append("begun")
            second.append(world.fetch(NAME, PullPolicy.NEW))
        content(TAGS)(request)

    world.site.routes[PAGE] = page
    first = world.fetch(NAME, PullPolicy.NEW)
    assert second == ["begun", first]
    assert world.site.urls.count(ACI) == 1


def test_policies(world: World) -> None:
    with pytest.raises(UserError, match="it is not in the store"):
        world.fetch(NAME, PullPolicy.NEVER)
    assert world.site.urls == []
    first = world.fetch(NAME, PullPolicy.NEW)
    asked = len(world.site.urls)
    assert world.fetch(NAME, PullPolicy.NEW) == world.fetch(NAME, PullPolicy.NEVER) == first
    assert world.fetch(first, PullPolicy.NEVER) == first
    assert len(world.site.urls) == asked
    world.fetch(NAME, PullPolicy.UPDATE)
    assert len(world.site.urls) > asked


def test_a_signature_may_come_after_the_image(world: World) -> None:
    signature = world.signers.sign(world.aci, world.signers.good)
    answers = iter([status(202), content(signature)])
    world.site.routes[ASC] = lambda request: next(answers)(request)
    world.fetch(NAME)
    assert world.site.urls == [PAGE, ASC, ACI, ASC]
    assert world.stored == ["example.com/app"]


def test_a_signature_that_never_comes_is_refused(world: World) -> None:
    world.site.routes[ASC] = status(202)
    with pytest.raises(UserError, match="server asked to defer the download again"):
        world.fetch(NAME)
    assert world.stored == []


def test_without_image_checks_neither_signature_nor_key_is_asked_for(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    insecure(world, Insecure.IMAGE)
    world.site.routes[ASC] = status(404)
    world.fetch(NAME)
    assert world.stored == ["example.com/app"]
    assert "warning: image signature verification has been disabled" in capfd.readouterr().err
    _image_of_another_name(world)
    with pytest.raises(UserError, match="error when reading the app name"):
        world.fetch(NAME)


def test_plain_http_is_used_where_it_is_allowed(world: World) -> None:
    insecure(world, Insecure.HTTP)
    plain = {url.replace("https:", "http:"): route for url, route in world.site.routes.items()}
    plain["http://example.com/app?ac-discovery=1"] = content(TAGS.replace(b"https:", b"http:"))
    world.site.routes = plain
    world.fetch(NAME)
    assert world.stored == ["example.com/app"]


def test_credentials_go_to_their_host_alone_and_only_by_https(world: World) -> None:
    folder = world.settings.local_config / "auth.d"
    folder.mkdir()
    (folder / "example.json").write_text(
        '{"rktKind": "auth", "rktVersion": "v1", "domains": ["cdn.example.com"], "type": "basic",'
        ' "credentials": {"user": "foo", "password": "bar"}}'
    )
    world.site.routes[ACI] = redirect("https://other.example.com/app.aci")
    world.site.routes["https://other.example.com/app.aci"] = content(world.aci)
    world.fetch(NAME)
    assert [headers.get("Authorization") for _, headers in world.site.requests] == [
        None,
        "Basic Zm9vOmJhcg==",
        "Basic Zm9vOmJhcg==",
        None,
    ]


def test_a_certificate_of_an_unknown_authority_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(UserError, match="discovery failed") as caught:
        world.fetch(NAME)
    assert "certificate verify failed" in caught.value.hint
    insecure(world, Insecure.TLS)
    world.fetch(NAME)
    assert world.stored == ["example.com/app"]


def test_keys_are_discovered_where_none_is_trusted(world: World, tmp_path: Path) -> None:
    world.site.routes["https://example.com/keys.gpg"] = content(world.signers.public(world.signers.good))
    empty = tmp_path / "empty"
    world.settings = Settings(**{**vars(world.settings), "local_config": empty})
    with pytest.raises(UserError, match="unable to ask user to review fingerprint due to lack of tty"):
        world.fetch(NAME)
    world.settings = Settings(**{**vars(world.settings), "trust_keys_from_https": True})
    world.fetch(NAME)
    assert (empty / "trustedkeys/prefix.d/example.com/app" / world.signers.good.lower()).is_file()
    assert world.stored == ["example.com/app"]


def test_several_images_with_flags_among_them(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "file.aci"
    image.write_bytes(world.aci)
    (tmp_path / "sig").write_bytes(world.signers.sign(world.aci, world.signers.good))
    settings = world.settings
    flags = [f"--local-config={settings.local_config}", f"--system-config={settings.system_config}", "--full"]
    words = [NAME, str(image), "--signature", str(tmp_path / "sig"), f"--dir={settings.data_dir}", *flags]
    monkeypatch.setattr(sys, "argv", ["rkt", "fetch", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capfd.readouterr()
    assert not ended.value.code, captured.err
    first, second = captured.out.splitlines()
    assert first == second == world.fetch(str(image), signature=tmp_path / "sig")
    for wrong in (["--exec=x"], ["--", "argument"], []):
        monkeypatch.setattr(sys, "argv", ["rkt", "fetch", *([NAME, *wrong] if wrong else [])])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 254


def test_dependencies_are_fetched_too(world: World) -> None:
    base = make_aci("example.com/base")
    top = make_aci(dependencies=[{"imageName": "example.com/base", "labels": [{"name": "version", "value": "1"}]}])
    world.signers.trust(world.settings.local_config, world.signers.good, "example.com/base")
    tag = b'<meta name="ac-discovery" content="example.com/base https://cdn.example.com/base.{ext}">'
    world.serve(top, world.signers.sign(top, world.signers.good))
    world.site.routes |= {
        "https://example.com/base?ac-discovery=1": content(tag),
        "https://cdn.example.com/base.aci": content(base),
        "https://cdn.example.com/base.aci.asc": content(world.signers.sign(base, world.signers.good)),
    }
    world.fetch(NAME)
    assert sorted(world.stored) == ["example.com/app", "example.com/base"]


def test_a_dependency_that_is_not_the_image_it_must_be_is_refused(world: World) -> None:
    wrong = f"sha512-{'0' * 128}"
    top = make_aci(dependencies=[{"imageName": "example.com/app", "imageID": wrong}])
    world.serve(top, world.signers.sign(top, world.signers.good))
    world.site.routes["https://cdn.example.com/app-latest-linux-amd64.aci"] = content(world.aci)
    world.site.routes["https://cdn.example.com/app-latest-linux-amd64.aci.asc"] = content(
        world.signers.sign(world.aci, world.signers.good)
    )
    with pytest.raises(UserError, match=f"not {wrong} as it must be"):
        world.fetch(NAME)
