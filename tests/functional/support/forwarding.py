"""Runs the tests of some variants inside the outer guest: those with KVM on a machine where KVM does not work.

A second pytest, with the plugin `tests.functional.support.worker`, runs in the guest for the whole session. Each such
test is named to it over the channel and its reports come back, so that they appear here as any other test's.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.functional.support import etcd, selection
from tests.functional.support.builds import SRCDIR
from tests.functional.support.images import NotBuilt, compile_probe, unpack
from tests.functional.support.outer import OuterGuest
from tests.functional.support.outer_kernel import fetch
from tests.functional.support.packages import Unavailable
from tests.functional.support.variants import Host, variant_of

START_TIMEOUT = 300.0
TEST_TIMEOUT = 600.0
"""Seconds until the guest counts as lost: nested emulation is slow, and each test has bounds of its own."""

MAX_GUESTS = 4
"""How many outer guests may be lost in a row: the test that ran when one was lost is run again in a new one, because
then it was qemu's emulation of SVM that failed, not what is tested.
"""

PASSED_ON = ("PATH", "MKSTAGE1_BUILDDIR", "MKSTAGE1_RKT", "LKVM_SRC")


WORKDIR_VARIABLE = "MKSTAGE1_FUNCTIONAL_WORKDIR"
LOSSES = "lost-outer-guests"


class Workdir:
    """The directory that the tests of a session share, here and in the outer guest; removed with the session.

    Processes of pytest-xdist share that of the process that started them, which is `given`.
    """

    def __init__(self, given: str | None = None) -> None:
        self._given = os.environ.get(WORKDIR_VARIABLE, given)
        self._made: Path | None = None

    @property
    def path(self) -> Path:
        """The directory; made by the first use, unless the other side has made it."""
        if self._given is not None:
            return Path(self._given)
        if self._made is None:
            self._made = Path(tempfile.mkdtemp(prefix="mkstage1-functional-"))
            self._made.chmod(0o755)
            (self._made / "images").mkdir()
        return self._made

    def remove(self) -> None:
        if self._made is not None:
            shutil.rmtree(self._made, ignore_errors=True)


class Forwarder:
    """The pytest plugin on this side."""

    def __init__(self, workdir: Workdir) -> None:
        self._shared = workdir
        self._worker: _Worker | None = None
        self._host: Host | None = None
        self._losses: list[str] = []
        self._lost_in_a_row = 0

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        variant, host = variant_of(item), _outer_host(item)
        if variant is None or host is None:
            return None
        try:
            unpack(variant.hypervisor, self._workdir)
            if "etcd" in getattr(item, "fixturenames", ()):
                # Made here: the guest has no network.
                etcd.build(self._workdir)
            if host is not self._host:
                self._close()
                self._host = host
            if self._worker is None and self._lost_in_a_row < MAX_GUESTS:
                self._worker = self._start(item.session)
        except NotBuilt:
            return None
        except Unavailable as missing:
            item.add_marker(pytest.mark.skip(reason=f"there is no outer guest: {missing}"))
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._run(item):
            item.ihook.pytest_runtest_logreport(report=report)
        # What tests on this side have set up for a module ends where the last one of it is a forwarded one.
        item.session._setupstate.teardown_exact(nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for loss in self._losses:
            terminalreporter.section("an outer guest was lost")
            terminalreporter.write_line(loss)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self._close()
        # Of pytest-xdist: what a process tells that which started it.
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[LOSSES] = self._losses

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput[WORKDIR_VARIABLE] = str(self._workdir)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._losses += getattr(node, "workeroutput", {}).get(LOSSES, [])

    def _close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    @property
    def _workdir(self) -> Path:
        return self._shared.path

    def _start(self, session: pytest.Session) -> _Worker:
        assert self._host is not None
        compile_probe(self._workdir)
        kernel = fetch(_kernel_cache(self._workdir))
        files = sorted({str(item.path) for item in session.items if _outer_host(item) is self._host})
        return _Worker(OuterGuest(kernel, _command(files, self._workdir), self._workdir / self._host, self._host))

    def _run(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Run a test in the guest, in a new one where the last was lost, and return its reports."""
        rest = item.session.items[item.session.items.index(item) + 1 :]
        following = next((other.nodeid for other in rest if _outer_host(other) is self._host), None)
        while self._lost_in_a_row < MAX_GUESTS:
            if self._worker is None:
                self._worker = self._start(item.session)
            try:
                data = self._worker.ask({"run": item.nodeid, "next": following})
                self._lost_in_a_row = 0
                return [_report(item, one) for one in data]
            except _Lost as error:
                self._lost_in_a_row += 1
                self._losses.append(f"{item.nodeid}: {error}\n{self._worker.guest.tail()}")
                self._close()
        return [
            pytest.TestReport(
                nodeid=item.nodeid,
                location=item.location,
                keywords={},
                outcome="failed",
                longrepr=f"{self._lost_in_a_row} outer guests were lost in a row",
                when="call",
            )
        ]


def _report(item: pytest.Item, data: dict[str, Any]) -> pytest.TestReport:
    report: pytest.TestReport = item.config.hook.pytest_report_from_serializable(config=item.config, data=data)
    if isinstance(report.longrepr, list):
        # Where and why a test was skipped: JSON has no tuples, and pytest takes nothing else.
        path, line, reason = report.longrepr
        report.longrepr = (path, line, reason)
    return report


class _Lost(Exception):
    """The worker does not answer."""


class _Worker:
    def __init__(self, guest: OuterGuest) -> None:
        self.guest = guest
        self._stream = guest.channel.makefile("r")
        self._ready = False

    def ask(self, question: dict[str, Any]) -> list[dict[str, Any]]:
        """Send one line of JSON and return the answer. Raises `_Lost`."""
        try:
            if not self._ready:
                self._answer(START_TIMEOUT)
                self._ready = True
            self.guest.channel.sendall(json.dumps(question).encode() + b"\n")
            answer: list[dict[str, Any]] = self._answer(TEST_TIMEOUT)
        except (OSError, ValueError) as error:
            raise _Lost(str(error) or type(error).__name__) from error
        return answer

    def close(self) -> None:
        self._stream.close()
        self.guest.close()

    def _answer(self, timeout: float) -> Any:
        self.guest.channel.settimeout(timeout)
        return json.loads(self._stream.readline())


def _outer_host(item: pytest.Item) -> Host | None:
    return selection.outer_host(variant_of(item))


def _kernel_cache(workdir: Path) -> Path:
    """The build directory keeps the kernel between sessions."""
    builddir = os.environ.get("MKSTAGE1_BUILDDIR")
    return Path(builddir, "functional") if builddir else workdir


def _command(files: list[str], workdir: Path) -> str:
    env = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
        "HOME": "/run/home",
        "TMPDIR": "/run/tmp",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        # It runs what it is told to, whatever is chosen where KVM works.
        selection.VARIABLE: selection.Selection.ALL,
        WORKDIR_VARIABLE: str(workdir),
    }
    argv = [
        *("env", *(f"{name}={value}" for name, value in env.items())),
        *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.functional.support.worker"),
        # In memory: what a test leaves there goes with it.
        *("--basetemp=/run/pytest", "--override-ini=tmp_path_retention_policy=failed", *files),
    ]
    return f"cd {shlex.quote(str(SRCDIR))} && exec {shlex.join(argv)}"


def install(config: pytest.Config, workdir: Workdir) -> None:
    """Register the plugin, but not in the outer guest itself."""
    if WORKDIR_VARIABLE not in os.environ:
        config.pluginmanager.register(Forwarder(workdir), "functional-forwarder")
