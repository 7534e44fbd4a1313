"""A guest in which KVM works, on machines where it does not.

qemu emulates an AMD processor with SVM (TCG needs no hardware for it) and boots Debian's kernel in it; `/dev/kvm` in
that guest runs real nested guests. Its root is the root of this machine over 9p, read-only: the same paths, the same
programs. Only /run is writable.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.functional.support.outer_kernel import OuterKernel, make_initramfs
from tests.functional.support.packages import Unavailable
from tests.functional.support.variants import Host

MEMORY = "3G"
CPUS = 1
"""With two, qemu's emulation of SVM loses interrupts between them, and now and then both stand still for ever."""
END_WHEN_STUCK = "panic=-1 softlockup_panic=1 rcupdate.rcu_cpu_stall_timeout=120 sysctl.kernel.panic_on_rcu_stall=1"
"""Kernel parameters: a guest in which a processor no longer answers ends, so that who waits for it learns of it."""
CHANNEL = "/dev/vport0p1"
"""Device in the guest that is the other end of `OuterGuest.channel`."""


class OuterGuest:
    """A running outer guest. `channel` is a stream socket to the guest's device `CHANNEL`."""

    def __init__(self, kernel: OuterKernel, command: str, directory: Path, host: Host) -> None:
        """Start the guest; it runs the shell text `command`, and ends with it. `directory` takes its files."""
        qemu = shutil.which("qemu-system-x86_64")
        if qemu is None:
            raise Unavailable("qemu-system-x86_64 is not installed")
        directory.mkdir(parents=True, exist_ok=True)
        self.console = directory / "console.log"
        initramfs = directory / "initramfs.gz"
        make_initramfs(kernel, command, initramfs, host)
        ours, theirs = socket.socketpair()
        with theirs, (directory / "qemu.log").open("wb") as log:
            self.process = subprocess.Popen(
                _argv(qemu, kernel, initramfs, self.console, theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=(theirs.fileno(),),
            )
        self.channel = ours

    def wait(self, timeout: float) -> None:
        """Wait until the guest has ended by itself. Raises `subprocess.TimeoutExpired`."""
        self.process.wait(timeout)

    def tail(self, lines: int = 30) -> str:
        """The last lines of the guest's console."""
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def close(self) -> None:
        """End the guest at once."""
        self.channel.close()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _argv(qemu: str, kernel: OuterKernel, initramfs: Path, console: Path, channel_fd: int) -> Sequence[str]:
    return (
        # However this process ends, the guest ends with it.
        *("setpriv", "--pdeathsig", "KILL"),
        *(qemu, "-nodefaults", "-no-reboot", "-display", "none", "-machine", "q35"),
        *("-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm", "-smp", str(CPUS), "-m", MEMORY),
        *("-kernel", str(kernel.image), "-initrd", str(initramfs)),
        *("-append", f"console=ttyS0 no_timer_check tsc=reliable mitigations=off {END_WHEN_STUCK}"),
        *("-chardev", f"file,id=console,path={console}", "-serial", "chardev:console"),
        *("-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=host,mount_tag=host"),
        *("-device", "virtio-rng-pci"),
        *("-chardev", f"socket,id=channel,fd={channel_fd}"),
        *("-device", "virtio-serial-pci", "-device", "virtserialport,chardev=channel,nr=1,name=channel"),
    )
