from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from stage0.images.discovery import Discovery, Endpoint, Tag, parse_tags
from stage0.settings.limits import Limits
from stage0.syntax.image_name import parse_name
from stage0.transport.auth import Auth
from stage0.transport.client import Client
from tests.support.image_server import Request, Site, content, redirect, status

NO_AUTH = Auth(MappingProxyType({}), MappingProxyType({}))
TAG = b'<meta name="ac-discovery" content="example.com https://cdn.example.com/%s">'


def discover(*, allow_http: bool = False) -> Discovery:
    return Discovery(Client(NO_AUTH), allow_http=allow_http)


def page(path: str = "/", scheme: str = "https") -> str:
    return f"{scheme}://example.com{path}?ac-discovery=1"


def test_the_way_leads_up_to_the_first_page_with_a_tag(site: Site) -> None:
    site.routes[page("/a/b")] = content(b"<html>nothing</html>")
    site.routes[page("/a")] = content(TAG % b"{name}-{version}-{os}-{arch}.{ext}")
    site.routes[page()] = content(TAG % b"wrong.{ext}")
    image = parse_name("example.com/a/b/c:1,os=linux,arch=amd64")
    base = "https://cdn.example.com/example.com/a/b/c-1-linux-amd64"
    assert discover().endpoints(image) == (Endpoint(f"{base}.aci", f"{base}.aci.asc"),)
    assert site.urls == [page("/a/b/c"), page("/a/b"), page("/a")]


def test_without_a_version_it_is_the_latest(site: Site) -> None:
    site.routes[page("/a")] = content(TAG % b"{version}.{ext}")
    assert discover().endpoints(parse_name("example.com/a"))[0].aci == "https://cdn.example.com/latest.aci"


def test_tags_for_other_prefixes_and_with_unknown_variables_are_passed_over(site: Site) -> None:
    tags = (
        b'<meta name="ac-discovery" content="example.org https://x/{name}.{ext}">'
        b'<meta name="ac-discovery" content="example.com https://x/{channel}.{ext}">'
        b'<meta name="ac-discovery" content="example.com hdfs://x/{name}.{ext}">'
    )
    site.routes[page("/a")] = content(tags + TAG % b"third.{ext}")
    assert [found.aci for found in discover().endpoints(parse_name("example.com/a"))] == [
        "https://cdn.example.com/third.aci"
    ]


def test_values_are_not_templates(site: Site) -> None:
    site.routes[page("/a")] = content(TAG % b"{channel}.{ext}")
    image = parse_name("example.com/a,channel={ext}")
    with pytest.raises(UserError, match="discovery failed"):
        discover().endpoints(image)


def test_keys(site: Site) -> None:
    tags = b"".join(
        b'<meta name="ac-discovery-pubkeys" content="example.com %s"/>' % url
        for url in (b"https://example.com/one.gpg", b"https://example.com/two.gpg")
    )
    site.routes[page()] = content(tags)
    assert discover().public_keys("example.com/a") == ("https://example.com/one.gpg", "https://example.com/two.gpg")


def test_all_pages_of_a_name_share_one_time(site: Site) -> None:
    """A name with many parts has many pages."""

    def slow(request: Request) -> None:
        site.closing.wait(0.1)
        request.answer(404)

    name = "example.com" + "/a" * 50
    site.routes |= {page("/a" * count): slow for count in range(51)}
    discovery = Discovery(Client(NO_AUTH, limits=Limits(small_seconds=0.5)), allow_http=False)
    with pytest.raises(UserError, match="discovery failed"):
        discovery.endpoints(parse_name(name))
    assert len(site.urls) < 10


def test_redirects_are_followed(site: Site) -> None:
    site.routes[page("/a")] = redirect("/elsewhere")
    site.routes["https://example.com/elsewhere"] = content(TAG % b"app.{ext}")
    assert discover().endpoints(parse_name("example.com/a"))


def test_plain_http_only_where_it_is_allowed_and_after_https(site: Site) -> None:
    site.routes[page("/a", "http")] = content(TAG % b"app.{ext}")
    image = parse_name("example.com/a")
    with pytest.raises(UserError, match="discovery failed"):
        discover().endpoints(image)
    assert all(url.startswith("https:") for url in site.urls)
    site.requests.clear()
    assert discover(allow_http=True).endpoints(image)
    assert site.urls == [page("/a"), page("/a", "http")]


def test_a_failure_says_what_was_tried(site: Site) -> None:
    site.routes[page("/a")] = status(403)
    site.routes[page()] = content(b"")
    with pytest.raises(UserError, match=r"discovery failed for 'example\.com/a'") as caught:
        discover().endpoints(parse_name("example.com/a"))
    assert "bad HTTP status code: 403" in caught.value.hint
    assert "example.com: there is no tag ac-discovery" in caught.value.hint


@pytest.mark.parametrize(
    ("html", "tags"),
    [
        ('<meta name="ac-discovery" content="  a   b  ">', [Tag("ac-discovery", "a", "b")]),
        ("<META NAME='ac-discovery' CONTENT='a b c'/>", [Tag("ac-discovery", "a", "b c")]),
        ('<meta name=ac-discovery content="a b"><', [Tag("ac-discovery", "a", "b")]),
        ('<meta name="ac-discovery" content="a">', []),
        ('<meta name="other" content="a b">', []),
        ('<meta content="a b">', []),
        ("<meta name>", []),
        ('<!-- <meta name="ac-discovery" content="a b"> -->', []),
        ("<script>\"<meta name=ac-discovery content='a b'>\"</script>", []),
        ('<meta name="ac-discovery" content="a b&amp;c">', [Tag("ac-discovery", "a", "b&c")]),
        ('<meta name="ac-discovery" content="a b?c&copy=d&#x41;&apos;">', [Tag("ac-discovery", "a", "b?c&copy=dA'")]),
        ('<meta content = "a b"\n name\t=\n"ac-discovery" />', [Tag("ac-discovery", "a", "b")]),
        ('<meta name="ac-discovery" name="x" content="a b" content="c d">', [Tag("ac-discovery", "a", "b")]),
        ('<meta name="ac-discovery" content="a b>c"', []),
        ('<meta name="ac-discovery" content="a b', []),
        ('<metadata name="ac-discovery" content="a b">', []),
        ('<title><meta name="ac-discovery" content="a b"></title>', []),
        ('<script src="x"/><meta name="ac-discovery" content="a b">', [Tag("ac-discovery", "a", "b")]),
        (
            '<!doctype html><?xml?><![CDATA[>]]><meta name="ac-discovery" content="a b">',
            [Tag("ac-discovery", "a", "b")],
        ),
        ('<head></head><meta name="ac-discovery" content="a b">', []),
        ('<BODY class="x"><meta name="ac-discovery" content="a b">', []),
    ],
)
def test_meta_tags(html: str, tags: list[Tag]) -> None:
    assert list(parse_tags(html)) == tags


HOSTILE = (
    "<",
    "<a ",
    "<!",
    "<![",
    "<!--",
    "<?",
    "</",
    "<![CDATA[",
    "{",
    "&#",
    '<a b="',
    "<meta name=",
    "<title>",
    " ",
    "=",
)


@pytest.mark.parametrize("part", HOSTILE)
def test_a_hostile_page_is_read_in_proportion_to_its_length(part: str) -> None:
    """Each of them took minutes, or was a defect, in a parser that goes back."""
    assert parse_tags(part * (200_000 // len(part))) == ()


@pytest.mark.parametrize("template", ["{" * 4000, "{a" * 2000, "}" * 2000 + "{" * 2000])
def test_a_hostile_template_is_rendered_in_proportion_to_its_length(template: str, site: Site) -> None:
    tag = f'<meta name="ac-discovery" content="example.com https://x/{template}">'
    site.routes[page("/a")] = content(tag.encode() * 200)
    found = discover().endpoints(parse_name("example.com/a"))
    assert [endpoint.aci for endpoint in found] == [f"https://x/{template}"] * 200


@pytest.mark.parametrize(
    ("html", "message"),
    [
        ('<meta name="ac-discovery" content="a b">' * 257, "more than 256 tags"),
        (f'<meta name="ac-discovery" content="a {"b" * 4096}">', "more than 4096 characters in a tag"),
        (f'<meta name="ac-discovery" content="a &#{"1" * 5000};">', "more than 4096 characters in a tag"),
        ("x" * ((1 << 20) + 1), "a page of more than 1048576 characters"),
    ],
)
def test_a_page_with_too_much_is_refused(html: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_tags(html)


def test_a_page_with_too_many_keys_is_refused(site: Site) -> None:
    site.routes[page()] = content(b'<meta name="ac-discovery-pubkeys" content="example.com https://x/key"/>' * 17)
    with pytest.raises(UserError, match="led to more than 16 keys"):
        discover().public_keys("example.com")


MARKS = (">", "/>", "-->", "]]>", "'", '"', "}", ";", "\0", "é", "\n", "\udcff", "&amp;", "content=", "ac-discovery")
TAGS = ("</head>", "<body>", "<script>", "</script>", '<meta name="ac-discovery" content="a b">')
PIECES = st.sampled_from([*HOSTILE, *MARKS, *TAGS])


@given(st.lists(PIECES | st.text(max_size=3), max_size=40).map("".join))
def test_any_page_gives_tags_or_an_error_of_one_line(html: str) -> None:
    try:
        tags = parse_tags(html)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert all(tag.name.startswith("ac-") and tag.prefix and tag.template for tag in tags)


@given(st.binary(max_size=300), st.integers(1, 200))
def test_any_bytes_are_a_page(data: bytes, times: int) -> None:
    for tag in parse_tags((data * times).decode("utf-8", "replace")):
        assert len(tag.prefix) + len(tag.template) < 4096


@given(st.text(alphabet="<>!-/\"'=&; metanconvtx\n[]?{}"))
def test_no_page_is_a_defect(html: str) -> None:
    assert all(tag.prefix and tag.template for tag in parse_tags(html))
