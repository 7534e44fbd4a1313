from __future__ import annotations

from pathlib import Path

import pytest

from builder.configure import arguments, resolve_machine
from builder.configure.arguments import Notes
from builder.configure.resolve import Resolution, resolve
from builder.model import lock
from builder.model.config import Compression, Hypervisor, KernelOptions, Provision, Signer
from common.errors import UserError
from common.version import VERSION
from tests.unit.builder.flavors import write_flavor
from tests.unit.builder.programs import STOCK, make_lkvm

FLAVOR = """
summary = "for tests"
{isolation}
[manifest]
template = "manifest.j2"
name = "example.com/stage1-{name}"
"""
MACHINE = """
[kernel.forms]
lkvm = "bzImage"
qemu = "vmlinux"
"""
FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source tree with the flavors kvm, fly and own."""
    root = tmp_path / "source tree"
    for name in ("kvm", "fly", "own"):
        folder = root / "flavors" / name
        folder.mkdir(parents=True)
        (folder / "manifest.j2").touch()
        (folder / "flavor.toml").write_text(
            FLAVOR.format(name=name, isolation='isolation = "container"' if name == "fly" else "")
            + ("" if name == "fly" else MACHINE)
        )
    for arch in ("amd64", "aarch64"):
        (root / "kernel-configs" / arch).mkdir(parents=True)
    return root


def decide(
    source: Path, *argv: str, environ: dict[str, str] | None = None, answers: bool = False
) -> tuple[Resolution, Notes]:
    asked = arguments.parse(argv, cwd=source.parent, environ=environ or {})
    notes = Notes()
    return resolve(asked, source, notes, lambda repository: answers), notes


def refused(source: Path, *argv: str, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        decide(source, *argv, environ=environ)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults(source: Path) -> None:
    resolution, notes = decide(source)
    config = resolution.config
    assert config.stage1.flavors == ("kvm", "fly")
    assert config.default_stage1.name == "example.com/stage1-kvm"
    assert config.default_stage1.version == config.stage1.version == config.version == VERSION
    assert config.install.images_directory == "/usr/local/lib/rkt/stage1-images"
    assert config.builddir == source / f"build-rkt-{VERSION}"
    assert config.cache.directory == Path.home() / ".cache" / "mkstage1"
    assert (config.kernel.source, config.kernel.versions) == (None, ("6.1",))
    assert (config.signing.signer, config.signing.fingerprint) == (Signer.DEVELOPMENT, None)
    assert (config.stage1.compression, config.compiler_launcher) == (Compression.GZIP, None)
    assert config.functional_tests
    assert notes == Notes()
    assert resolution.purposes == {"python", "kernel", "guest", "packages", "signing"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--with-stage1-flavors=kvm,kvm"], 'flavor "kvm" is named twice in --with-stage1-flavors'),
        (["--with-stage1-flavors=kvm,xen"], 'unknown flavor "xen" in --with-stage1-flavors'),
        (["--with-stage1-flavors=kvm,"], 'unknown flavor "" in --with-stage1-flavors'),
        (
            ["--with-stage1-flavors=coreos"],
            'there is no flavor "coreos" in ',
        ),
        (
            ["--with-stage1-flavors="],
            "--with-stage1-flavors names no flavor, and no other default stage1 is named",
        ),
        (
            ["--with-stage1-flavors=kvm", "--with-stage1-default-flavor=fly"],
            "--with-stage1-default-flavor=fly is not among the flavors to build (kvm)",
        ),
        (
            ["--with-stage1-default-flavor=kvm", "--with-stage1-default-version=1"],
            "--with-stage1-default-flavor excludes --with-stage1-default-name and --with-stage1-default-version",
        ),
        (
            ["--with-stage1-default-name=x"],
            "--with-stage1-default-name and --with-stage1-default-version go together",
        ),
        (
            ["--with-stage1-default-version=1"],
            "--with-stage1-default-name and --with-stage1-default-version go together",
        ),
        (
            ["--with-stage1-default-location=stage1.aci"],
            "--with-stage1-default-location is neither an absolute path nor a URL: stage1.aci",
        ),
        (
            ["--with-stage1-default-location=https://"],
            "--with-stage1-default-location is neither an absolute path nor a URL: https://",
        ),
        (
            ["--with-stage1-default-images-directory=images"],
            "--with-stage1-default-images-directory is not absolute: images",
        ),
        (["--libdir=lib"], "--libdir is not absolute: lib"),
        (["--with-coreos-local-pxe-image-path=x"], "--with-coreos-local-pxe-image-path needs --with-coreos-local-pxe"),
        (["--with-debian-suite=../x"], "--with-debian-suite is no code name: '../x'"),
        (["--with-debian-mirror=ftp://x"], "--with-debian-mirror is not an http, https or file URL: ftp://x"),
        (["--with-compiler-launcher=ccache gcc"], "--with-compiler-launcher is not one program: 'ccache gcc'"),
        (["--with-signing-key=01234567"], "--with-signing-key is not a full fingerprint: 01234567"),
        ([f"--with-signing-key={FINGERPRINT}", "--with-gnupg-home=/no/such"], "GnuPG home /no/such is not a directory"),
        (
            [f"--with-signing-key={FINGERPRINT}", "--with-passphrase-file=/no/such"],
            "passphrase file /no/such does not exist",
        ),
    ],
)
def test_refusals(source: Path, argv: list[str], message: str) -> None:
    assert refused(source, *argv).startswith(message)


def test_flavors_keep_their_order_and_the_first_is_the_default(source: Path) -> None:
    config = decide(source, "--with-stage1-flavors=own,kvm")[0].config
    assert config.stage1.flavors == ("own", "kvm")
    assert config.default_stage1.name == "example.com/stage1-own"


def test_another_default_flavor(source: Path) -> None:
    config = decide(source, "--with-stage1-default-flavor=fly")[0].config
    assert config.default_stage1.name == "example.com/stage1-fly"


def test_a_default_stage1_by_name_builds_no_flavor_unless_asked(source: Path) -> None:
    named = ("--with-stage1-default-name=example.com/other", "--with-stage1-default-version=7")
    resolution, notes = decide(source, *named)
    assert resolution.config.stage1.flavors == ()
    assert resolution.config.default_stage1.name == "example.com/other"
    assert resolution.config.default_stage1.version == "7"
    assert resolution.tests_obstacle
    assert resolution.purposes == {"python"}
    assert notes.warnings == ["without --with-stage1-default-location, rkt may need a --stage1-* option to run"]
    assert decide(source, *named, "--with-stage1-flavors=kvm")[0].config.stage1.flavors == ("kvm",)


def test_the_version_override_labels_images_and_default(source: Path) -> None:
    config = decide(source, "--with-stage1-flavors-version-override=9.9")[0].config
    assert (config.stage1.version, config.default_stage1.version, config.version) == ("9.9", "9.9", VERSION)


def test_the_version_override_without_flavors_warns(source: Path) -> None:
    _, notes = decide(
        source,
        "--with-stage1-flavors-version-override=9.9",
        "--with-stage1-default-name=x",
        "--with-stage1-default-version=7",
        "--with-stage1-default-location=docker://x",
    )
    assert notes.warnings == ["--with-stage1-flavors-version-override is given, but no flavor is built"]


@pytest.mark.parametrize("location", ["/a b/c.aci", "https://host/x.aci", "docker://x", "file:///x"])
def test_locations(source: Path, location: str) -> None:
    config = decide(source, f"--with-stage1-default-location={location}")[0].config
    assert config.default_stage1.location == location


@pytest.mark.parametrize(
    ("argv", "images"),
    [
        (["--prefix=/usr"], "/usr/lib/rkt/stage1-images"),
        (["--prefix=/"], "/lib/rkt/stage1-images"),
        (["--exec-prefix=/opt/x/"], "/opt/x/lib/rkt/stage1-images"),
        (["--prefix=/p", "--libdir=${exec_prefix}/lib64"], "/p/lib64/rkt/stage1-images"),
        (["--with-stage1-default-images-directory=/srv/images"], "/srv/images"),
    ],
)
def test_the_images_directory_follows_prefix_and_libdir(source: Path, argv: list[str], images: str) -> None:
    assert decide(source, *argv)[0].config.install.images_directory == images


def test_without_kvm_its_options_are_ignored(source: Path) -> None:
    resolution, notes = decide(source, "--with-stage1-flavors=fly", "--with-stage1-kvm-hypervisors=xen")
    assert resolution.config.stage1.hypervisors == ()
    assert resolution.purposes == {"guest", "packages", "python", "signing"}
    assert notes.ignored == ["--with-stage1-kvm-hypervisors=xen"]
    assert notes.warnings == ["--with-stage1-kvm-hypervisors is ignored: no flavor with a virtual machine is built"]


def test_options_without_effect_are_named(source: Path) -> None:
    argv = ("--enable-tpm", "--disable-sdjournal", "--with-stage1-systemd-version=v252", "CC=clang")
    config = decide(source, *argv)[0].config
    assert sorted(config.ignored) == sorted(argv)


def test_signing_with_a_key(source: Path, tmp_path: Path) -> None:
    secret = tmp_path / "passphrase"
    secret.write_text("x")
    secret.chmod(0o644)
    spaced = " ".join(FINGERPRINT[at : at + 4] for at in range(0, 40, 4)).lower()
    resolution, notes = decide(
        source, f"--with-signing-key={spaced}", f"--with-passphrase-file={secret}", environ={"GNUPGHOME": str(tmp_path)}
    )
    assert resolution.config.signing.fingerprint == FINGERPRINT
    assert resolution.config.signing.gnupg_home == tmp_path
    assert notes.warnings == [f"passphrase file {secret} can be read by others: chmod 600 mends that"]


def test_without_signatures_gpg_is_not_needed(source: Path) -> None:
    resolution, notes = decide(source, "--without-signing-key", "--with-gnupg-home=/x")
    assert resolution.config.signing.signer is Signer.NONE
    assert "signing" not in resolution.purposes
    assert notes.ignored == ["--with-gnupg-home=/x"]


def test_the_compiler_launcher(source: Path) -> None:
    resolution, _ = decide(source, "--with-compiler-launcher=ccache")
    assert resolution.config.compiler_launcher == "ccache"
    assert "ccache" in resolution.purposes


def test_the_cache_follows_xdg(source: Path) -> None:
    assert decide(source, environ={"XDG_CACHE_HOME": "/c"})[0].config.cache.directory == Path("/c/mkstage1")
    assert decide(source, "--with-cache-dir=c")[0].config.cache.directory == source.parent / "c"


def test_the_build_directory_may_come_from_the_environment(source: Path) -> None:
    assert decide(source, environ={"BUILDDIR": "b"})[0].config.builddir == source.parent / "b"


def test_a_build_directory_with_other_things_is_refused(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "home"
    other.mkdir()
    assert decide(source, f"--builddir={other}")[0].config.builddir == other
    (other / "letter.txt").touch()
    assert refused(source, f"--builddir={other}") == f"build directory {other} holds other things"
    assert refused(source, f"--builddir={other}/letter.txt").endswith("is a file")
    assert refused(source, f"--builddir={tmp_path}").endswith("contains the source tree")
    (other / "CACHEDIR.TAG").touch()
    assert decide(source, f"--builddir={other}")[0].config.builddir == other


def test_an_unknown_machine_is_refused(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "vax")
    assert refused(source) == "unsupported architecture vax"


def test_kvm_needs_kernel_fragments_for_the_machine(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "kernel-configs" / "aarch64").rmdir()
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert "kernel-configs/aarch64 does not exist" in refused(source)
    assert decide(source, "--with-stage1-flavors=fly")[0].config.stage1.architectures == ("aarch64",)


def test_names_below_a_domain(source: Path) -> None:
    config = decide(source, "--with-stage1-name-prefix=example.org/images", "--with-stage1-flavors=fly")[0].config
    assert (config.stage1.name_prefix, config.default_stage1.name) == (
        "example.org/images",
        "example.org/images/stage1-fly",
    )


@pytest.mark.parametrize("prefix", ["/x", "x/", "Example.com", "a b", "a//b", "a..b"])
def test_no_prefix_of_a_name(source: Path, prefix: str) -> None:
    assert f"--with-stage1-name-prefix={prefix}: no name" in refused(source, f"--with-stage1-name-prefix={prefix}")


def test_the_names_of_architectures(source: Path) -> None:
    config = decide(source, "--with-stage1-arch=arm64,x86_64")[0].config
    assert config.stage1.architectures == ("aarch64", "amd64")


def test_another_architecture_needs_its_compiler(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    cross = {item.package for item in decide(source, "--with-stage1-arch=aarch64")[0].requirements}
    assert cross == {"gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user"}
    assert decide(source)[0].requirements == decide(source, "--with-stage1-arch=amd64")[0].requirements == ()
    assert decide(source, "--with-stage1-arch=aarch64")[0].tests_obstacle == "they run images for this machine"
    assert decide(source, "--with-stage1-arch=aarch64,amd64")[0].tests_obstacle == ""


def test_lkvm_is_not_for_every_architecture(source: Path, tmp_path: Path) -> None:
    given = f"--with-stage1-lkvm-src={lkvm_tree(tmp_path / 'kvmtool')}"
    config = decide(source, "--with-stage1-arch=amd64,aarch64", given)[0].config
    assert (config.stage1.hypervisors, config.stage1.hypervisors_reason) == (("qemu",), "lkvm is not built for aarch64")
    both = "--with-stage1-kvm-hypervisors=lkvm,qemu"
    assert decide(source, "--with-stage1-arch=amd64,aarch64", given, both)[0].config.stage1.hypervisors == (
        "lkvm",
        "qemu",
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--with-stage1-arch=vax", 'unknown architecture "vax"'),
        ("--with-stage1-arch=arm64,aarch64", "--with-stage1-arch names aarch64 twice"),
        ("--with-stage1-kernel=prebuilt", "a prebuilt kernel for aarch64 is not possible"),
        ("--with-stage1-qemu=build", "qemu is not compiled for aarch64 here"),
        ("--with-stage1-kvm-hypervisors=lkvm", "flavor kvm cannot be built for aarch64 with lkvm"),
    ],
)
def test_what_is_not_for_another_architecture(source: Path, option: str, message: str) -> None:
    assert refused(source, *(() if "arch=" in option else ("--with-stage1-arch=arm64",)), option) == message


def lkvm_tree(path: Path) -> Path:
    path.mkdir()
    (path / "kvm.c").touch()
    return path


@pytest.mark.parametrize(
    ("argv", "answers", "hypervisors", "reason"),
    [
        ([], False, ("qemu",), "no source of lkvm is given, and its repository at git.kernel.org does not answer"),
        ([], True, ("lkvm",), "its repository at git.kernel.org answers"),
        (["--offline"], True, ("qemu",), "offline, and no source of lkvm is given"),
        (["--with-stage1-lkvm-src=kvmtool", "--offline"], False, ("lkvm",), "the source of lkvm is given"),
        (["LKVM_SRC=kvmtool"], False, ("lkvm",), "the source of lkvm is given"),
        (["--with-stage1-kvm-hypervisors=qemu,lkvm"], False, ("qemu", "lkvm"), "as asked"),
    ],
)
def test_hypervisors(source: Path, argv: list[str], answers: bool, hypervisors: tuple[str, ...], reason: str) -> None:
    lkvm_tree(source.parent / "kvmtool")
    config = decide(source, *argv, answers=answers)[0].config
    assert (config.stage1.hypervisors, config.stage1.hypervisors_reason) == (hypervisors, reason)


def test_lkvm_from_its_repository(source: Path) -> None:
    resolution, _ = decide(source, "--with-stage1-kvm-hypervisors=lkvm")
    assert resolution.config.lkvm.source == resolve_machine.LKVM_REPOSITORY
    assert resolution.config.lkvm.revision == "b48735e5d562eaffb96cf98a91da212176f1534c"
    assert {"lkvm", "git source"} <= resolution.purposes


def test_lkvm_from_a_directory_has_no_revision(source: Path) -> None:
    folder = lkvm_tree(source.parent / "kvmtool")
    resolution, notes = decide(source, f"--with-stage1-lkvm-src={folder}", f"--with-stage1-lkvm-revision={'0' * 40}")
    assert (resolution.config.lkvm.source, resolution.config.lkvm.revision) == (str(folder), None)
    assert "git source" not in resolution.purposes
    assert notes.ignored == [f"--with-stage1-lkvm-revision={'0' * 40}"]


def test_a_prebuilt_lkvm(source: Path) -> None:
    program = make_lkvm(source.parent / "lkvm")
    resolution, notes = decide(source, "--with-stage1-lkvm=lkvm", environ={"LKVM_SRC": "/no/such"})
    config = resolution.config
    assert config.stage1.hypervisors == (Hypervisor.LKVM,)
    assert (config.lkvm.program, config.lkvm.source) == (program, None)
    assert "lkvm" not in resolution.purposes
    assert [warning.partition(":")[0] for warning in notes.warnings] == [
        f"{program} lacks the patches of flavors/kvm/lkvm-patches"
    ]
    make_lkvm(program, *STOCK, "port")
    assert decide(source, "--with-stage1-lkvm=lkvm")[1] == Notes()


def test_a_prebuilt_lkvm_and_a_source_exclude_each_other(source: Path) -> None:
    make_lkvm(source.parent / "lkvm")
    folder = lkvm_tree(source.parent / "kvmtool")
    assert "exclude each other" in refused(source, "--with-stage1-lkvm=lkvm", f"--with-stage1-lkvm-src={folder}")
    assert "No such file" in refused(source, "--with-stage1-lkvm=/no/such")


def test_the_option_comes_before_the_variable(source: Path) -> None:
    folder = lkvm_tree(source.parent / "kvmtool")
    config = decide(source, f"--with-stage1-lkvm-src={folder}", environ={"LKVM_SRC": "/no/such"})[0].config
    assert config.lkvm.source == str(folder)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--with-stage1-kvm-hypervisors=lkvm,xen"], 'unknown hypervisor "xen" in --with-stage1-kvm-hypervisors'),
        (["--with-stage1-kvm-hypervisors=qemu,qemu"], 'hypervisor "qemu" is named twice in --with-stage1-kvm-hyper'),
        (["--with-stage1-lkvm-src=/no/such"], "source of lkvm /no/such does not exist"),
        (["LKVM_SRC=/no/such"], "source of lkvm /no/such does not exist"),
        (["--with-stage1-lkvm-src=/"], "/ is no source of lkvm: it has no kvm.c"),
        (
            ["--with-stage1-lkvm-src=https://x/y", "--with-stage1-lkvm-revision=master"],
            "--with-stage1-lkvm-revision is not a full commit hash: 'master'",
        ),
        (["--with-stage1-kernel-src=/no/such"], "source of the kernel /no/such does not exist"),
        (["--with-stage1-kernel-src=/"], "/ is no source of Linux: it has no Kbuild"),
        (["--with-stage1-kernel-src=http://x/linux-6.1.1.tar.xz"], "--with-stage1-kernel-src takes https URLs"),
        (["--with-stage1-kernel-src=https://x/y.tar.xz"], "https://x/y.tar.xz is no /linux-VERSION.tar.xz"),
        (["--with-stage1-kernel-src=https://x/y.tar.xz#sha256=0"], "https://x/y.tar.xz#sha256=0: what follows"),
        (["--with-stage1-lkvm-src=https://x/y.tar.gz"], "https://x/y.tar.gz is no git repository"),
        (
            ["--with-stage1-kernel-src=https://x/linux-6.1.1.tar.xz", "--with-stage1-kernel-version=6.1.2"],
            "--with-stage1-kernel-version is 6.1.2, and the tarball is 6.1.1",
        ),
        (
            ["--with-stage1-kernel-src=debian", "--with-stage1-kernel-version=6.1.2"],
            "Debian packages series of Linux, not 6.1.2",
        ),
        (["--with-stage1-kernel-version=6.1,6.1"], "--with-stage1-kernel-version names 6.1 twice"),
        (
            ["--with-stage1-kernel-src=https://x/linux-6.1.1.tar.xz", "--with-stage1-kernel-version=6.1.1,6.12"],
            "--with-stage1-kernel-src names one tarball",
        ),
        (["--with-stage1-kernel-version=six"], "--with-stage1-kernel-version is no version of Linux: 'six'"),
        (["--with-stage1-kernel-config=/no/such"], "kernel fragment /no/such does not exist"),
    ],
)
def test_refusals_about_kvm(source: Path, argv: list[str], message: str) -> None:
    assert refused(source, *argv).startswith(message)


@pytest.mark.parametrize(
    ("argv", "kernel"),
    [
        (["--with-stage1-kernel-version=6.12"], ("", "6.12")),
        (["--with-stage1-kernel-version=6.1,6.1.100"], ("", "6.1", "6.1.100")),
        (["--with-stage1-kernel-src=https://x/linux-6.12.tar.xz"], ("https://x/linux-6.12.tar.xz", "6.12")),
    ],
)
def test_kernel_sources(source: Path, argv: list[str], kernel: tuple[str, ...]) -> None:
    resolution, _ = decide(source, *argv)
    assert (resolution.config.kernel.source or "", *resolution.config.kernel.versions) == kernel
    assert resolution.config.kernel.versions_asked
    assert ("kernel.org signature" in resolution.purposes) == (len(kernel) == 3 or bool(kernel[0]))


def test_the_versions_of_a_flavor_count_unless_others_are_asked_for(source: Path) -> None:
    with (source / "flavors/own/flavor.toml").open("a") as file:
        file.write('[kernel]\nversions = ["6.1.100"]\n')
    resolution, _ = decide(source, "--with-stage1-flavors=own")
    assert not resolution.config.kernel.versions_asked
    assert "kernel.org signature" in resolution.purposes
    asked = decide(source, "--with-stage1-flavors=own", "--with-stage1-kernel-version=6.1")[0]
    assert asked.config.kernel.versions_asked
    assert "kernel.org signature" not in asked.purposes


def test_flavors_of_ones_own(source: Path) -> None:
    folder = write_flavor(source.parent / "mine", "tracing", 'extends = "kvm"\nsummary = "for tracing"\n')
    resolution, _ = decide(source, "--with-stage1-flavors=tracing", "--with-stage1-flavors-path=mine")
    assert (resolution.config.stage1.flavors, resolution.config.stage1.flavors_path) == (("tracing",), (folder.parent,))
    assert 'unknown flavor "tracing"' in refused(source, "--with-stage1-flavors=tracing")
    assert refused(source, "--with-stage1-flavors-path=absent").endswith("/absent is not a directory")
    write_flavor(source.parent / "mine", "own")
    both = refused(source, "--with-stage1-flavors=own", "--with-stage1-flavors-path=mine")
    assert both == f'flavor "own" is in {source / "flavors"} and in {folder.parent}'


def test_a_flavor_that_the_hypervisors_cannot_run(source: Path) -> None:
    with (source / "flavors/own/flavor.toml").open("r+") as file:
        text = file.read()
        file.seek(0)
        file.write('hypervisors = ["qemu"]\n' + text)
    message = refused(source, "--with-stage1-flavors=own", "--with-stage1-kvm-hypervisors=lkvm")
    assert message == "flavor own cannot be built for amd64 with lkvm"


def test_a_kernel_with_a_digest_may_come_from_anywhere(source: Path) -> None:
    pinned = f"https://x/mine.tar.gz#sha256={'a' * 64}"
    resolution, _ = decide(source, f"--with-stage1-kernel-src={pinned}")
    assert (resolution.config.kernel.source, resolution.config.kernel.versions) == (pinned, ())
    assert "kernel.org signature" not in resolution.purposes


def test_a_prebuilt_kernel_of_debian(source: Path) -> None:
    resolution, notes = decide(source, "--with-stage1-kernel=prebuilt", "--with-stage1-kernel-version=6.1")
    config = resolution.config
    assert config.kernel == KernelOptions(Provision.PREBUILT)
    assert notes.warnings == ["--with-stage1-kernel-version is ignored: the kernel is prebuilt"]
    assert "kernel" not in resolution.purposes
    assert {"guest", "packages"} <= resolution.purposes


def test_a_prebuilt_kernel_of_ones_own(source: Path) -> None:
    image, modules = source.parent / "vmlinuz", source.parent / "modules"
    image.write_bytes(bytes(0x202) + b"HdrS")
    modules.mkdir()
    argv = (
        "--with-stage1-kernel=prebuilt",
        "--with-stage1-kernel-image=vmlinuz",
        "--with-stage1-kernel-modules=modules",
    )
    config = decide(source, *argv)[0].config
    assert (config.kernel.image, config.kernel.modules) == (image, modules)


def test_lkvm_boots_no_vmlinux(source: Path) -> None:
    (source.parent / "vmlinux").write_bytes(b"\x7fELF")
    argv = ("--with-stage1-kernel=prebuilt", "--with-stage1-kernel-image=vmlinux")
    assert decide(source, *argv)[0].config.kernel.image == source.parent / "vmlinux"
    assert "lkvm boots only a bzImage" in refused(source, *argv, "--with-stage1-kvm-hypervisors=qemu,lkvm")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--with-stage1-kernel=fetch"], "invalid value 'fetch' for --with-stage1-kernel"),
        (["--with-stage1-kernel-image=/etc/passwd"], "--with-stage1-kernel-image and -modules are about a prebuilt"),
        (["--with-stage1-kernel=prebuilt", "--with-stage1-kernel-modules=/"], "--with-stage1-kernel-modules needs"),
        (["--with-stage1-kernel=prebuilt", "--with-stage1-kernel-image=/no/such"], "kernel /no/such does not exist"),
        (["--with-stage1-kernel=prebuilt", "--with-stage1-kernel-image=/etc/passwd"], "/etc/passwd is no kernel"),
    ],
)
def test_refusals_about_a_prebuilt_kernel(source: Path, argv: list[str], message: str) -> None:
    assert refused(source, *argv).startswith(message)


def test_keys_for_kernel_org_come_from_the_gnupg_home(source: Path, tmp_path: Path) -> None:
    argv = (f"--with-gnupg-home={tmp_path}", "--with-stage1-kernel-version=6.1.100")
    resolution, notes = decide(source, *argv)
    assert resolution.config.signing.gnupg_home == tmp_path
    assert resolution.config.signing.fingerprint is None
    assert notes.ignored == []


def test_a_git_checkout_needs_git(source: Path) -> None:
    folder = lkvm_tree(source.parent / "kvmtool")
    assert "git source" not in decide(source, f"--with-stage1-lkvm-src={folder}")[0].purposes
    (folder / ".git").mkdir()
    assert "git source" in decide(source, f"--with-stage1-lkvm-src={folder}")[0].purposes


def test_a_kernel_directory_has_no_version(source: Path) -> None:
    folder = source.parent / "linux"
    folder.mkdir()
    (folder / "Kbuild").touch()
    resolution, notes = decide(source, "--with-stage1-kernel-src=linux", "--with-stage1-kernel-version=6.1")
    assert (resolution.config.kernel.source, resolution.config.kernel.versions) == (str(folder), ())
    assert notes.ignored == ["--with-stage1-kernel-version=6.1"]


def test_fragments_are_taken_in_order(source: Path) -> None:
    for name in ("b.config", "a.config"):
        (source.parent / name).touch()
    config = decide(source, "--with-stage1-kernel-config=b.config,a.config")[0].config
    assert config.kernel.fragments == (source.parent / "b.config", source.parent / "a.config")


@pytest.mark.parametrize(
    ("own", "asked", "options", "needed"),
    [
        ("y", "", (), True),
        ("", "y", (), True),
        ("n", "n", (), False),
        ("", "", (), False),
        ("y", "", ("--with-stage1-flavors=kvm",), False),
        ("y", "", ("--with-stage1-kernel=prebuilt",), False),
    ],
)
def test_a_kernel_with_type_information_needs_a_program(
    source: Path, own: str, asked: str, options: tuple[str, ...], needed: bool
) -> None:
    """Of a flavor of one's own, or asked for by option; where such a kernel is built at all."""
    for folder, value in ((source / "flavors/own", own), (source.parent, asked)):
        (folder / "x.config").write_text(f"CONFIG_DEBUG_INFO_BTF={value}\n" if value else "")
    with (source / "flavors/own/flavor.toml").open("a") as file:
        file.write('[kernel]\nfragments = ["x.config"]\n')
    if "prebuilt" not in "".join(options):
        options = (*options, "--with-stage1-kernel-config=x.config")
    resolution, _ = decide(source, "--with-stage1-flavors=own", *options)
    assert ("BTF" in resolution.purposes) == needed


def test_a_repository_that_does_not_answer(tmp_path: Path) -> None:
    assert not resolve_machine.repository_answers(f"file://{tmp_path}/no-such-repository")


def test_a_locked_build_needs_its_lock_and_sources_that_it_can_hold(source: Path) -> None:
    assert refused(source, "--locked") == f"{source / 'stage1.lock'} does not exist"
    lock.save(source / "stage1.lock", lock.Lock())
    config = decide(source, "--locked")[0].config
    assert (config.downloads.locked, config.downloads.lock_file) == (True, source / "stage1.lock")
    lkvm_tree(source.parent / "kvmtool")
    assert "kvmtool is a file of this machine" in refused(source, "--locked", "--with-stage1-lkvm-src=kvmtool")
    assert refused(source, "--locked", "--with-lock-file=other") == f"{source.parent / 'other'} does not exist"


@pytest.mark.parametrize(
    ("words", "kind", "src"),
    [
        ([], "prebuilt", ""),
        (["--with-stage1-qemu=build"], "build", ""),
        (
            ["--with-stage1-qemu=build", "--with-stage1-qemu-src=https://x/q.tar.xz#sha256=12"],
            "build",
            "https://x/q.tar.xz#sha256=12",
        ),
        (["--with-stage1-qemu-src=https://x/q.tar.xz"], "prebuilt", ""),
    ],
)
def test_where_qemu_comes_from(source: Path, words: list[str], kind: str, src: str) -> None:
    resolution, notes = decide(source, "--with-stage1-flavors=kvm", "--with-stage1-kvm-hypervisors=qemu", *words)
    assert (resolution.config.qemu.provision.value, resolution.config.qemu.source) == (kind, src or None)
    assert ("qemu source" in resolution.purposes) == (kind == "build")
    ignored = any(text.startswith("--with-stage1-qemu-src is ignored") for text in notes.warnings)
    assert ignored == (kind == "prebuilt" and bool(words))


def test_sources_of_qemu_that_are_refused(source: Path) -> None:
    words = ("--with-stage1-flavors=kvm", "--with-stage1-kvm-hypervisors=qemu", "--with-stage1-qemu=build")
    assert "not pinned" in refused(source, *words, "--with-stage1-qemu-src=https://example.com/qemu.tar.xz")
    assert "does not exist" in refused(source, *words, "--with-stage1-qemu-src=missing")
    (source / lock.NAME).write_text('{"format": 1, "packages": [], "sources": []}')
    assert "source packages" in refused(source, *words, "--locked")
    _, notes = decide(source, "--with-stage1-flavors=fly", "--with-stage1-qemu=build")
    assert any(text.startswith("--with-stage1-qemu is ignored") for text in notes.warnings)
