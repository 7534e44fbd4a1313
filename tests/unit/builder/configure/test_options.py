from __future__ import annotations

from pathlib import Path

import pytest

from builder.configure import arguments
from builder.configure.arguments import Arguments, parse
from builder.configure.options import OPTIONS, VARIABLES, Content, Option, Spelling
from common.errors import UserError
from common.files import is_url

ROOT = Path(__file__).resolve().parents[4]

RKT_OPTIONS = """
    --with-stage1-flavors --with-stage1-flavors-version-override --with-stage1-default-flavor
    --with-stage1-default-name --with-stage1-default-version --with-stage1-default-location
    --with-stage1-default-images-directory --with-stage1-systemd-src --with-stage1-systemd-version
    --with-stage1-systemd-revision --with-coreos-local-pxe-image-path --with-coreos-local-pxe-image-systemd-version
    --with-stage1-kvm-hypervisor --with-stage1-kvm-hypervisors --enable-functional-tests --enable-tpm
    --enable-sdjournal --enable-insecure-go --enable-incremental-build --prefix --exec-prefix --bindir --libdir
"""


def read(*argv: str, cwd: Path = Path("/start"), environ: dict[str, str] | None = None) -> Arguments:
    return parse(argv, cwd=cwd, environ=environ or {})


def row(name: str) -> Option:
    return next(option for option in OPTIONS if option.name == name)


def test_no_option_has_a_twin() -> None:
    flags = [option.flag for option in OPTIONS]
    shorts = [option.short for option in OPTIONS if option.short]
    assert sorted(set(flags)) == sorted(flags)
    assert sorted(set(shorts)) == sorted(shorts)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_every_row_is_complete(option: Option) -> None:
    assert option.help.endswith(".") or option.help.endswith(".git")
    assert bool(option.shown_default) == (option.spelling is not Spelling.FLAG)
    assert option.metavar or option.choices or option.spelling is Spelling.FLAG
    if option.choices and option.default:
        assert option.default in option.choices
    assert not option.alias_of or row(option.alias_of)


@pytest.mark.parametrize("flag", RKT_OPTIONS.split())
def test_every_option_of_rkt_is_there(flag: str) -> None:
    assert flag in {option.flag for option in OPTIONS}


def test_defaults_without_arguments() -> None:
    asked = read()
    assert asked["aci-compression"] == "gzip"
    assert asked["debian-suite"] == "bookworm"
    assert asked["functional-tests"] == "auto"
    assert asked["offline"] == ""
    assert asked.canonical == ()
    assert not asked.given("offline")


@pytest.mark.parametrize(
    ("word", "name", "value"),
    [
        ("--with-stage1-flavors=kvm,fly", "stage1-flavors", "kvm,fly"),
        ("--without-stage1-flavors", "stage1-flavors", ""),
        ("--without-signing-key", "signing-key", "none"),
        ("--enable-functional-tests", "functional-tests", "yes"),
        ("--enable-functional-tests=auto", "functional-tests", "auto"),
        ("--disable-functional-tests", "functional-tests", "no"),
        ("--offline", "offline", "yes"),
        ("-q", "quiet", "yes"),
        ("--prefix=/opt/x", "prefix", "/opt/x"),
        ("--with-stage1-default-name=a=b", "stage1-default-name", "a=b"),
        ("--with-stage1-kvm-hypervisor=lkvm", "stage1-kvm-hypervisors", "lkvm"),
    ],
)
def test_spellings(word: str, name: str, value: str) -> None:
    asked = read(word)
    assert asked[name] == value
    assert asked.given(name)


def test_a_value_may_be_the_next_word_for_options_without_a_prefix() -> None:
    assert read("--prefix", "/opt")["prefix"] == "/opt"


def test_the_last_one_wins() -> None:
    assert read("--disable-tpm", "--enable-tpm=auto")["tpm"] == "auto"


@pytest.mark.parametrize(
    ("word", "message", "hint"),
    [
        ("--with-stage1-flavor=kvm", "unknown option --with-stage1-flavor", "did you mean --with-stage1-flavors?"),
        ("--xyzzy", "unknown option --xyzzy", "./configure.py --help lists the options"),
        ("kvm", "unknown argument kvm", "./configure.py --help lists the options"),
        ("--with-stage1-flavors", "--with-stage1-flavors needs a value", "write --with-stage1-flavors=FLAVOR[,...]"),
        ("--prefix", "--prefix needs a value", "write --prefix=DIR"),
        ("--enable-tpm=maybe", "invalid value 'maybe' for --enable-tpm", "write --enable-tpm[=yes|no|auto]"),
        ("--enable-insecure-go=auto", "invalid value 'auto' for --enable-insecure-go", ""),
        ("--with-aci-compression=zip", "invalid value 'zip' for --with-aci-compression", ""),
        ("--offline=no", "--offline takes no value", "write --offline"),
        ("--disable-tpm=yes", "--disable-tpm takes no value", ""),
        ("--builddir=a\nb", "--builddir has a control character in its value 'a\\nb'", ""),
    ],
)
def test_refusals(word: str, message: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        read(word)
    assert str(caught.value) == message
    assert caught.value.hint.startswith(hint)


def test_relative_paths_start_at_the_current_directory(tmp_path: Path) -> None:
    asked = read(
        "--builddir=out dir",
        "--with-stage1-kernel-config=a.config,/b.config",
        "--with-stage1-kernel-src=../linux",
        "--with-stage1-lkvm-src=auto",
        "LKVM_SRC=kvmtool",
        cwd=tmp_path,
    )
    assert asked["builddir"] == str(tmp_path / "out dir")
    assert asked["stage1-kernel-config"] == f"{tmp_path}/a.config,/b.config"
    assert asked["stage1-kernel-src"] == str(tmp_path.parent / "linux")
    assert asked["stage1-lkvm-src"] == "auto"
    assert asked.variables == {"LKVM_SRC": str(tmp_path / "kvmtool")}


@pytest.mark.parametrize("text", ["https://host/x.git", "git://host/x", "git+ssh://host/x", "file:///x"])
def test_urls_stay_as_they_are(text: str) -> None:
    assert is_url(text)
    assert read(f"--with-stage1-lkvm-src={text}")["stage1-lkvm-src"] == text


@pytest.mark.parametrize("text", ["/x", "x/y", "a:b", "https:", "git@host:x"])
def test_paths_are_no_urls(text: str) -> None:
    assert not is_url(text)


def test_variables_of_the_command_line_come_before_the_environment() -> None:
    asked = read("BUILDDIR=/a", "CC=clang", "CC=gcc", environ={"BUILDDIR": "/b", "GNUPGHOME": "/g", "CFLAGS": "-O3"})
    assert asked.variables == {"BUILDDIR": "/a", "GNUPGHOME": "/g"}
    assert asked.ignored_variables == ("CC=gcc",)


def test_the_canonical_form_repeats_the_request(tmp_path: Path) -> None:
    argv = ("--without-signing-key", "--builddir=x y", "--install-deps", "-q", "--disable-tpm", "--offline", "CC=gcc")
    asked = read(*argv, cwd=tmp_path, environ={"LKVM_SRC": "/k"})
    again = read(*asked.canonical, cwd=Path("/elsewhere"))
    assert again.canonical == asked.canonical
    assert again.variables == asked.variables
    actions = {option.name for option in OPTIONS if option.action}
    assert {name: value for name, value in again.values.items() if name not in actions} == {
        name: value for name, value in asked.values.items() if name not in actions
    }
    assert "--install-deps" not in asked.canonical


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_help_and_documentation_name_every_option(option: Option) -> None:
    assert f"  {option.usage}\n" in arguments.help_text()
    assert f"### `{option.usage}`" in arguments.markdown()


def test_help_names_the_variables() -> None:
    for name in VARIABLES:
        assert f"  {name}\n" in arguments.help_text()


def test_the_documentation_is_current() -> None:
    assert (ROOT / "docs" / "configure.md").read_text() == arguments.markdown(), "run `make docs`"


def test_options_with_paths_say_so() -> None:
    for option in OPTIONS:
        if option.content is Content.SOURCE:
            assert "DIR" in option.metavar
