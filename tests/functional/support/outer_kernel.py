"""A Linux kernel with KVM for the outer guest, from Debian's package, and the initramfs that goes with it."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile

from tests.functional.support.packages import Unavailable, download, tool
from tests.functional.support.variants import Host

SYSTEMD = Path("/lib/systemd/systemd")
META_PACKAGE = "linux-image-amd64"
MODULES = (
    *("virtio_pci", "virtio_console", "virtio_rng", "9pnet_virtio", "9p", "overlay", "kvm-amd"),
    *("tun", "bridge", "veth", "macvtap"),
    *("crc32c_generic", "nft_chain_nat", "nft_nat", "nft_masq", "nft_ct", "nft_fib_ipv4"),
    *("nft_compat", "xt_addrtype", "xt_nat", "xt_MASQUERADE", "xt_tcpudp", "xt_conntrack", "xt_comment", "xt_mark"),
)
"""What the outer guest needs and Debian's kernel has as modules; the modules that these depend on come along."""

INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in $(cat /modules/order); do insmod "/modules/$module" || echo "outer: cannot load $module"; done
mount -t 9p -o trans=virtio,version=9p2000.L,cache=loose,msize=524288,ro host /host || echo "outer: no root"
for dir in dev proc sys; do mount --move "/$dir" "/host/$dir"; done
mkdir -p /host/dev/pts /host/dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /host/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /host/dev/shm
mount -t tmpfs -o mode=755,size=80% tmpfs /host/run
mkdir -p /host/run/tmp /host/run/home
cp /command /host/run/command
"""
RUN = """/bin/sh -c '{command}; echo "outer: ended with status $?"; echo b >/proc/sysrq-trigger'"""
START = {
    Host.PLAIN: f"""\
mount -t cgroup2 cgroup2 /host/sys/fs/cgroup
echo "+memory +cpu +pids" >/host/sys/fs/cgroup/cgroup.subtree_control
exec switch_root /host {RUN.format(command="sh /run/command")}
""",
    # Of systemd's own units the bus alone is started, without which it makes no scopes.
    Host.SYSTEMD: f"""\
units=/host/run/systemd/system
for unit in dbus.service dbus.socket; do
    mkdir -p "$units/$unit.d"
    printf '[Unit]\\nDefaultDependencies=no\\n' >"$units/$unit.d/early.conf"
done
cat >"$units/outer.service" <<'END'
[Unit]
DefaultDependencies=no
Requires=dbus.service
After=dbus.service
[Service]
ExecStart={RUN.format(command="systemd-run --quiet --scope sh /run/command").replace("$", "$$")}
StandardOutput=tty
TTYPath=/dev/console
END
exec switch_root /host {SYSTEMD} --unit=outer.service --show-status=0
""",
}
"""What `INIT` ends with."""


@dataclass(frozen=True)
class OuterKernel:
    """A kernel image and the directory of its loose modules."""

    image: Path
    modules: Path


def fetch(directory: Path) -> OuterKernel:
    """Debian's kernel, unpacked below `directory`; downloaded by apt unless an earlier call left it there.

    Raises `Unavailable` where apt does not know the package or cannot download it.
    """
    package = _newest_package()
    target = directory / package
    if not target.is_dir():
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            unpacked = _unpack(package, Path(scratch))
            try:
                unpacked.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
    (image,) = target.glob("boot/vmlinuz-*")
    (modules,) = target.glob("lib/modules/*/kernel")
    return OuterKernel(image, modules)


def make_initramfs(kernel: OuterKernel, command: str, target: Path, host: Host) -> None:
    """Write an initramfs that runs the shell text `command` in the 9p share "host", mounted read-only as root.

    Raises `Unavailable` where a program is missing.
    """
    busybox = tool("busybox")
    if host is Host.SYSTEMD:
        for program in (str(SYSTEMD), "systemd-run", "dbus-daemon"):
            tool(program)
    cpio = tool("cpio")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in ("bin", "dev", "proc", "sys", "host", "modules"):
            (root / name).mkdir()
        shutil.copy(busybox, root / "bin/busybox")
        order = _load_order(kernel.modules, MODULES)
        for module in order:
            shutil.copy(module, root / "modules")
        (root / "modules/order").write_text("".join(f"{module.name}\n" for module in order))
        (root / "command").write_text(command)
        (root / "init").write_text(INIT + START[host])
        (root / "init").chmod(0o755)
        names = "\n".join(sorted(str(path.relative_to(root)) for path in root.rglob("*")))
        archive = subprocess.run(
            [cpio, "--quiet", "-o", "-H", "newc"], input=names.encode(), cwd=root, stdout=subprocess.PIPE, check=True
        ).stdout
    target.write_bytes(gzip.compress(archive, 1))


def _newest_package() -> str:
    """The package that `META_PACKAGE` stands for, "linux-image-6.1.0-56-amd64"."""
    answer = subprocess.run(
        [tool("apt-cache"), "show", "--no-all-versions", META_PACKAGE], capture_output=True, text=True
    )
    match = re.search(r"^Depends:.*?\b(linux-image-[0-9][^ ,]*)", answer.stdout, re.MULTILINE)
    if match is None:
        raise Unavailable(f"apt knows no {META_PACKAGE} (apt-get update)")
    return match[1]


def _unpack(package: str, scratch: Path) -> Path:
    """Download and unpack the package below `scratch`."""
    unpacked = scratch / "unpacked"
    subprocess.run([tool("dpkg-deb"), "-x", download(package, scratch), unpacked], check=True)
    return unpacked


def _load_order(directory: Path, wanted: tuple[str, ...]) -> list[Path]:
    """The files of the `wanted` modules and of all that they depend on, each after those that it needs."""
    files = {path.stem.replace("-", "_"): path for path in directory.rglob("*.ko")}
    order: list[Path] = []

    def add(name: str) -> None:
        path = files.get(name.replace("-", "_"))
        if path is None:
            raise Unavailable(f"the kernel in {directory} has no module {name}")
        if path not in order:
            for needed in _dependencies(path):
                add(needed)
            order.append(path)

    for name in wanted:
        add(name)
    return order


def _dependencies(module: Path) -> list[str]:
    """Names of the modules that `module` needs, from the field "depends" of its section .modinfo."""
    with module.open("rb") as stream:
        section = ELFFile(stream).get_section_by_name(".modinfo")
        fields = bytes(section.data()).split(b"\0") if section is not None else []
    for field in fields:
        if field.startswith(b"depends="):
            return [name for name in field.removeprefix(b"depends=").decode().split(",") if name]
    return []
