import pytest
from hypothesis import given
from hypothesis import strategies as st

from stage1.commands.arguments import RUN_FLAGS, Kind, parse, parse_run, parse_uuid
from stage1.host.errors import UserError
from stage1.network.config import Request

UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"


def test_every_flag_that_rkt_passes_is_taken() -> None:
    words = [
        *("--debug", "--net=none", "--interactive", "--private-users=", "--mds-token=abc", "--local-config=/etc/rkt"),
        *("--hostname=web", "--dns-conf-mode=resolv=host,hosts=stage0", "--disable-capabilities-restriction"),
        *("--disable-paths", "--disable-seccomp", "--ipc=private"),
    ]
    arguments = parse_run([*words, UUID])
    assert arguments.uuid == UUID
    assert arguments.debug and arguments.interactive
    assert arguments.networks == ()
    assert arguments.hostname == "web"


@given(
    st.permutations(["--debug", "-net=none", "--hostname=a.b", "-ipc=auto", "--mds-token=x", "-disable-paths=false"])
)
def test_the_order_does_not_matter(words: list[str]) -> None:
    arguments = parse_run([*words, UUID])
    assert (arguments.debug, arguments.networks, arguments.hostname) == (True, (), "a.b")


def test_one_dash_and_separate_values() -> None:
    arguments = parse_run(["-net", "default", "--hostname", "web", "-debug=false", UUID])
    assert arguments.networks == (Request("default", ""),)
    assert arguments.local_config == "/etc/rkt"
    assert arguments.hostname == "web"
    assert not arguments.debug


def test_defaults() -> None:
    arguments = parse_run([UUID.upper()])
    assert arguments.uuid == UUID
    assert arguments.hostname == f"rkt-{UUID}"
    assert not arguments.debug and not arguments.interactive


def test_networks_keep_their_arguments() -> None:
    assert parse_run(["--net=default,own:IP=1.2.3.4;MTU=9", UUID]).networks == (
        Request("default", ""),
        Request("own", "IP=1.2.3.4;MTU=9"),
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--net=default,host", UUID], "host excludes every other network"),
        (["--private-users=65536:65536", UUID], "--private-users"),
        (["--mutable", UUID], "--mutable"),
        (["--ipc=parent", UUID], "--ipc=parent"),
        (["--ipc=other", UUID], "--ipc=other"),
        (["--bogus", UUID], "--bogus: no such flag"),
        (["--debug=maybe", UUID], "true or false"),
        (["--net"], "value is missing"),
        ([], "0 words"),
        (["--debug", UUID, "more"], "2 words"),
        (["not-a-uuid"], "is not a UUID"),
        (["--hostname=a b", UUID], "not a host name"),
        (["--hostname=-a", UUID], "not a host name"),
        (["--hostname=" + "a" * 65, UUID], "not a host name"),
        (["--hostname=a\nb", UUID], "not a host name"),
        (["--hostname=a..b", UUID], "not a host name"),
    ],
)
def test_refusals_name_the_reason(words: list[str], text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_run(words)
    assert text in str(caught.value)


def test_two_dashes_end_the_flags() -> None:
    parsed = parse(["--debug", "--", "--net=x"], RUN_FLAGS)
    assert parsed.positional == ("--net=x",)


def test_the_last_of_several_wins() -> None:
    assert parse(["--net=a", "--net=b"], RUN_FLAGS).texts == {"net": "b"}


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_words_are_parsed_or_refused(words: list[str]) -> None:
    try:
        parsed = parse(words, {"net": Kind.TEXT, "debug": Kind.SWITCH})
    except UserError:
        return
    assert len(parsed.positional) <= len(words)


@given(st.uuids())
def test_uuids(uuid: object) -> None:
    assert parse_uuid([str(uuid)]) == str(uuid)
