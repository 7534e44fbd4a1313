"""The sh fronts and the recorder of exit statuses, executed by the shells that hosts have."""

import os
import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest

from tests.support import shell_scripts

FLAVOR = Path(__file__).parents[4] / "flavors/kvm"
SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "ash"]]
UUID = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"

# Stands for the loader that starts Python: says what it got and ends as $END says.
LOADER = '#!/bin/sh\necho "$PPID $*" >loader.log\nexit "${END:-0}"\n'


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def make_pod(place: Path, isolation: str) -> Path:
    root = place / "stage1/rootfs"
    (root / "rkt/status").mkdir(parents=True)
    name_apps(place)
    loader = root / "loader"
    loader.write_text(LOADER)
    loader.chmod(0o755)
    variables = {"loader": "loader", "library_path": "lib", "python": "python3", "launcher": "stage1.pyz"}
    variables |= {"starter": "the hypervisor", "place": "virtual machine", "isolation": isolation}
    for template in (FLAVOR / "entrypoints").glob("*.j2"):
        text = jinja2.Template(template.read_text(), undefined=jinja2.StrictUndefined).render(variables)
        entry = root / template.stem
        entry.write_text(text)
        entry.chmod(0o755)
        assert os.access(template, os.X_OK)
    return place


@pytest.fixture
def pod(tmp_path: Path) -> Path:
    return make_pod(tmp_path, "machine")


def name_apps(pod: Path, *apps: str) -> None:
    """As the launcher does before the guest starts."""
    (pod / "apps").write_text("".join(f"{app}\n" for app in apps))


def counting(folder: Path, *programs: str) -> Path:
    """A folder for PATH whose programs write their name into `started` before they do what they do otherwise."""
    folder.mkdir()
    for name in programs:
        real = shutil.which(name)
        assert real is not None
        (folder / name).write_text(f'#!/bin/sh\necho {name} >>"{folder}/started"\nexec {real} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def start(
    pod: Path, shell: list[str], entry: str, *words: str, end: int = 0, path: str = ""
) -> subprocess.CompletedProcess[str]:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    return subprocess.run(
        [*shell, str(pod / "stage1/rootfs" / entry), *words],
        cwd=pod,
        env={"PATH": f"{path}:{os.environ['PATH']}", "END": str(end), "LD_PRELOAD": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_init_passes_its_own_pid_and_all_words(pod: Path, shell: list[str]) -> None:
    assert start(pod, shell, "init", "--net=a b;*", UUID).returncode == 0
    front, _, rest = (pod / "loader.log").read_text().strip().partition(" ")
    assert rest.endswith(f"stage1.pyz run {front} --net=a b;* {UUID}")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("entry", "action"), [("gc", "gc"), ("stop_kvm", "stop"), ("enter_kvm", "enter"), ("attach", "attach")]
)
def test_the_other_entry_points(pod: Path, shell: list[str], entry: str, action: str) -> None:
    assert start(pod, shell, entry, "--force", UUID, end=3).returncode == 3
    assert (pod / "loader.log").read_text().strip().endswith(f"stage1.pyz {action} --force {UUID}")


@pytest.mark.parametrize("shell", SHELLS)
def test_the_first_failure_in_time_is_the_status(pod: Path, shell: list[str]) -> None:
    status = pod / "stage1/rootfs/rkt/status"
    name_apps(pod, "a", "b", "c")
    for number, (name, content) in enumerate([("c", "0\n"), ("b", "7\n"), ("a", "143\n")]):
        (status / name).write_text(content)
        os.utime(status / name, (1000 + number, 1000 + number))
    assert start(pod, shell, "init", UUID).returncode == 7


@pytest.mark.parametrize("shell", SHELLS)
def test_no_failure_is_0(pod: Path, shell: list[str]) -> None:
    assert start(pod, shell, "init", UUID).returncode == 0
    name_apps(pod, "web")
    (pod / "stage1/rootfs/rkt/status/web").write_text("0\n")
    assert start(pod, shell, "init", UUID).returncode == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_hostile_status_files_do_no_harm(pod: Path, shell: list[str]) -> None:
    status = pod / "stage1/rootfs/rkt/status"
    os.mkfifo(status / "fifo")
    (status / "link").symlink_to("/dev/zero")
    (status / "folder").mkdir()
    (status / "sparse").touch()
    os.truncate(status / "sparse", 1 << 40)
    (status / "digits").write_text("1" * 100)
    (status / "text").write_text("$(touch pwned)")
    (status / "name with $(touch pwned) `x`").write_text("-1\n")
    (status / "large").write_text("300\n")
    (status / "octal").write_text("08\n")
    (status / "empty").touch()
    (status / "nul").write_bytes(b"\0\0\0\0")
    # None of them is a failure. Nothing there is of an app that has ended.
    name_apps(pod, *names(status))
    result = start(pod, shell, "init", UUID)
    assert result.returncode == 254
    assert result.stderr == "stage1: error: the virtual machine ended before all apps had\n"
    assert not (pod / "pwned").exists()
    name_apps(pod, *names(status), "web")
    (status / "web").write_text("9\n")
    assert start(pod, shell, "init", UUID).returncode == 9


@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_of_no_app_costs_no_program(pod: Path, shell: list[str]) -> None:
    """As root in the guest can: the front works while it holds the pod's lock."""
    status = pod / "stage1/rootfs/rkt/status"
    for number in range(4996):
        (status / f"{number}\n{'x' * 200}").write_text("1\n")
    os.mkfifo(status / "fifo")
    (status / "link").symlink_to("/dev/zero")
    (status / "folder").mkdir()
    (status / "huge").touch()
    os.truncate(status / "huge", 1 << 40)
    assert len(names(status)) == 5000
    for name, code in {"db": 0, "web": 9}.items():
        (status / name).write_text(f"{code}\n")
    name_apps(pod, "db", "fifo", "folder", "huge", "link", "web")
    programs = counting(pod / "bin", "head", "tr", "rmdir")
    result = start(pod, shell, "init", UUID, path=str(programs))
    assert (result.returncode, result.stderr) == (9, "")
    # Of db, huge and web; busybox may have its own in place of them.
    started = programs / "started"
    assert not started.exists() or len(started.read_text().splitlines()) <= 3


@pytest.mark.parametrize("shell", SHELLS)
def test_the_groups_of_a_container_are_removed_by_few_programs(tmp_path: Path, shell: list[str]) -> None:
    pod = make_pod(tmp_path / "pod", "container")
    group, other = tmp_path / "groups below/rkt-1", tmp_path / "groups below/rkt-2"
    for number in range(300):
        (group / f"payload/{number}/a/-b\nc").mkdir(parents=True)
    (group / "payload/link").symlink_to(other)
    (other / "kept").mkdir(parents=True)
    (pod / "groups").write_text(f"{group}\n{tmp_path}/missing\n")
    programs = counting(tmp_path / "bin", "find", "rmdir")
    assert start(pod, shell, "init", UUID, path=str(programs)).returncode == 0
    assert sorted(path.name for path in group.rglob("*")) == ["link", "payload"]
    assert (other / "kept").exists()
    started = programs / "started"
    assert not started.exists() or len(started.read_text().splitlines()) < 10
    (group / "payload/link").unlink()
    assert start(pod, shell, "init", UUID).returncode == 0
    assert not group.exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_failures_of_its_own_are_254(pod: Path, shell: list[str]) -> None:
    (pod / "stage1/rootfs/rkt/status/web").write_text("9\n")
    result = start(pod, shell, "init", UUID, end=254)
    assert (result.returncode, result.stderr) == (254, "")
    result = start(pod, shell, "init", UUID, end=1)
    assert result.returncode == 254
    assert result.stderr == "stage1: error: the hypervisor ended with status 1\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_machine_that_ends_before_its_apps_is_a_failure(pod: Path, shell: list[str]) -> None:
    root = pod / "stage1/rootfs"
    name_apps(pod, "db", "web")
    (root / "rkt/status/web").write_text("0\n")
    result = start(pod, shell, "init", UUID)
    assert result.returncode == 254
    assert result.stderr == "stage1: error: the virtual machine ended before all apps had\n"
    (root / "rkt/status/web").write_text("7\n")
    assert start(pod, shell, "init", UUID).returncode == 7
    for name in ("db", "web"):
        (root / "rkt/status" / name).write_text("0\n")
    assert start(pod, shell, "init", UUID).returncode == 0


@pytest.fixture
def recorder(tmp_path: Path) -> str:
    """The text of record-exit, for statuses in `tmp_path/status` and the mark `tmp_path/flushed`, which is there."""
    (tmp_path / "status").mkdir()
    (tmp_path / "flushed").touch()
    return recorder_in(tmp_path, journal=True)


def recorder_in(folder: Path, *, journal: bool) -> str:
    script = FLAVOR / "files/usr/lib/stage1/record-exit.j2"
    assert os.access(script, os.X_OK)
    text = str(jinja2.Template(script.read_text(), undefined=jinja2.StrictUndefined).render(journal=journal))
    return text.replace("/rkt/status", str(folder / "status")).replace("/run/systemd/journal", str(folder))


@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [("exited", "0", 0), ("exited", "7", 7), ("killed", "KILL", 137), ("dumped", "SEGV", 139), ("", "", 255)],
)
def test_the_recorder_writes_a_status_at_once(
    recorder: str, tmp_path: Path, code: str, status: str, expected: int
) -> None:
    environment = {"PATH": os.environ["PATH"], "MONITOR_EXIT_CODE": code, "MONITOR_EXIT_STATUS": status}
    result = subprocess.run(["bash", "-c", recorder, "record-exit", "web-1"], env=environment, check=False)
    assert result.returncode == expected
    assert (tmp_path / "status/web-1").read_text() == f"{expected}\n"
    assert names(tmp_path / "status") == ["web-1"]


def test_the_recorder_waits_for_the_journal(recorder: str, tmp_path: Path) -> None:
    (tmp_path / "flushed").unlink()
    environment = {"PATH": os.environ["PATH"], "MONITOR_EXIT_CODE": "exited", "MONITOR_EXIT_STATUS": "0"}
    # The mark appears at the first pause, and nothing has been recorded until then.
    hook = f'read() {{ [ -z "$(ls {tmp_path}/status)" ] && : >{tmp_path}/flushed; }}\n'
    result = subprocess.run(["bash", "-c", hook + recorder, "record-exit", "web"], env=environment, check=False)
    assert result.returncode == 0
    assert (tmp_path / "flushed").exists()
    assert names(tmp_path / "status") == ["web"]


def test_the_recorder_of_a_guest_without_a_journal_waits_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "status").mkdir()
    environment = {"PATH": os.environ["PATH"], "MONITOR_EXIT_CODE": "exited", "MONITOR_EXIT_STATUS": "0"}
    recorder = f"read() {{ : >{tmp_path}/paused; }}\n" + recorder_in(tmp_path, journal=False)
    subprocess.run(["bash", "-c", recorder, "record-exit", "web"], env=environment, check=True)
    assert names(tmp_path) == ["status"]


@pytest.mark.parametrize(("reason", "said"), [("oom-kill", True), ("signal", False)])
def test_the_recorder_says_that_memory_was_short(recorder: str, reason: str, said: bool) -> None:
    reported = {"MONITOR_EXIT_CODE": "killed", "MONITOR_EXIT_STATUS": "KILL", "MONITOR_SERVICE_RESULT": reason}
    environment = {"PATH": os.environ["PATH"], **reported}
    result = subprocess.run(
        ["bash", "-c", recorder, "record-exit", "web"], env=environment, capture_output=True, text=True
    )
    assert result.returncode == 137
    assert ("out of memory" in result.stderr) == said


def test_the_recorders_units_differ_in_nothing() -> None:
    exited, failed = (FLAVOR / "units" / f"app-{kind}@.service.j2" for kind in ("exited", "failed"))
    assert exited.read_text() == failed.read_text()
    assert not failed.is_symlink()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("folder", ["rkt", "rkt/status"])
def test_a_guest_cannot_have_other_files_read_as_statuses(pod: Path, shell: list[str], folder: str) -> None:
    elsewhere = pod / "elsewhere"
    (pod / "stage1/rootfs" / folder).rename(elsewhere)
    (elsewhere / "status").mkdir(exist_ok=True)
    for file in (elsewhere / "web", elsewhere / "status/web"):
        file.write_text("7\n")
    (pod / "stage1/rootfs" / folder).symlink_to(elsewhere)
    done = start(pod, shell, "init", UUID)
    assert done.returncode == 254
    assert "by a link" in done.stderr


def test_shellcheck_sees_every_script_of_a_flavor(tmp_path: Path) -> None:
    seen = {path.name for path in shell_scripts.render(tmp_path)}
    templates = [path for path in FLAVOR.parent.rglob("*") if shell_scripts.is_shell(path)]
    assert len(templates) > 10
    assert {path.name.removesuffix(".j2") for path in templates} | {"run"} == seen


def test_shellcheck_sees_what_is_only_there_without_a_journal(tmp_path: Path) -> None:
    shell_scripts.render(tmp_path)
    recorder = "usr/lib/stage1/record-exit"
    assert "flushed" in (tmp_path / "kvm" / recorder).read_text()
    assert "flushed" not in (tmp_path / "kvm-without-journal" / recorder).read_text()


def test_shellcheck_reports_a_fault(tmp_path: Path) -> None:
    if not shell_scripts.program():
        pytest.skip("shellcheck is not installed")
    (tmp_path / "good").write_text('#!/bin/sh\nrm -- "$1"\n')
    (tmp_path / "bad").write_text("#!/bin/sh\nrm -- $1\n")
    assert shell_scripts.check(tmp_path, (Path("good"),)).returncode == 0
    done = shell_scripts.check(tmp_path, (Path("good"), Path("bad")))
    assert done.returncode == 1
    assert done.stdout.startswith("bad:2:")
