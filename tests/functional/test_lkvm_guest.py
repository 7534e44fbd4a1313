"""What a hostile guest gives to lkvm's devices, lkvm being compiled with the project's patches: no virtual machine."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from builder.model.config import BuildConfig
from common.errors import UserError
from tests.functional.support.builds import SRCDIR

HARNESS = Path(__file__).with_name("support") / "lkvm_guest.c"
SOURCES = ("virtio/core.c", "virtio/9p-pdu.c", "util/init.c", "util/rbtree.c", "util/util.c", "util/strbuf.c")
SANITIZERS = "-fsanitize=address,undefined"

MEMORY = 1 << 18
QUEUE, AVAIL, USED, REQUEST, REPLY = 0, 0x1000, 0x2000, 0x4000, 0x14000
SIZE = 0x10000
"""Of the buffers of request and reply."""
NEXT, WRITE, INDIRECT = 1, 2, 4

ERROR = 7
LCREATE, SYMLINK, RENAME, GETATTR, SETATTR, LINK, MKDIR = 14, 16, 20, 24, 26, 70, 72
LOPEN, RENAMEAT, UNLINKAT, ATTACH, WALK, READ, TWRITE = 12, 74, 76, 104, 110, 116, 118
ROOT, FILE, OTHER, PARENT = 1, 2, 3, 4
EACCES, ENOTDIR, ENAMETOOLONG, ELOOP, EOPNOTSUPP = 13, 20, 36, 40, 95
ATTR_MODE, ATTR_SIZE = 1, 8


def text(value: str) -> bytes:
    return struct.pack("<H", len(value.encode())) + value.encode()


class Guest:
    """The program of support/lkvm_guest.c, which serves the folder `root`."""

    def __init__(self, program: Path, root: Path) -> None:
        self.root = root
        self._requests = 0
        self._process = subprocess.Popen(
            [program, root], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def obey(self, line: str) -> str:
        """The answer to a line. Raises `Ended` where there is none."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise Ended(self._process.communicate()[1])
        return answer.strip()

    def write(self, address: int, data: bytes) -> None:
        self.obey(f"write {address:x} {data.hex()}")

    def offer(self, *descriptors: tuple[int, int, int, int], head: int = 0) -> None:
        """Put descriptors (address, size, flags, next) into the table, and the one numbered `head` into the queue."""
        self.write(QUEUE, b"".join(struct.pack("<QIHH", *item) for item in descriptors))
        self.write(AVAIL + 4 + 2 * (self._requests % 128), struct.pack("<H", head))
        self._requests += 1
        self.write(AVAIL, struct.pack("<HH", 0, self._requests & 0xFFFF))

    def raw(self, kind: int, body: bytes, request: int | None = None, reply: int = SIZE) -> tuple[int, bytes]:
        """Kind and body of the reply; `request` and `reply` are the sizes of the buffers."""
        message = struct.pack("<IBH", 7 + len(body), kind, 1) + body
        self.write(REQUEST, message)
        self.write(REPLY, bytes(16))
        self.offer((REQUEST, request or len(message), NEXT, 1), (REPLY, reply, WRITE, 0))
        self.obey("9p")
        size, answer, _ = struct.unpack("<IBH", bytes.fromhex(self.obey(f"read {REPLY:x} 7")))
        return answer, bytes.fromhex(self.obey(f"read {REPLY + 7:x} {max(size - 7, 0):x}"))

    def call(self, kind: int, layout: str, *values: int | str) -> bytes:
        """The body of the reply. `layout` are the sizes of the numbers, and `s` for texts. Raises `Refused`."""
        parts = [
            text(value) if isinstance(value, str) else struct.pack(f"<{letter}", value)
            for letter, value in zip(layout, values, strict=True)
        ]
        answer, body = self.raw(kind, b"".join(parts))
        if answer == ERROR:
            raise Refused(struct.unpack("<I", body)[0])
        assert answer == kind + 1
        return body

    def walk(self, fid: int, *names: str) -> None:
        self.call(WALK, "IIH" + "s" * len(names), ROOT, fid, len(names), *names)

    def set_attribute(self, fid: int, valid: int, *, mode: int = 0, size: int = 0) -> None:
        self.call(SETATTR, "IIIIIQQQQQ", fid, valid, mode, 0, 0, size, 0, 0, 0, 0)

    def close(self) -> str:
        """End it, and return what it says: nothing, unless something was wrong."""
        return self._process.communicate()[1]


class Ended(Exception):
    """The program has ended, with the last words that are the argument."""


class Refused(Exception):
    """An error of 9p, with its number."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = os.environ.get("LKVM_SRC", "")
    with suppress(UserError):
        source = source or BuildConfig.load(Path(os.environ.get("MKSTAGE1_BUILDDIR", "."))).lkvm.source or ""
    if not Path(source, "virtio/9p.c").is_file():
        pytest.skip("needs the source of kvmtool in a directory: set LKVM_SRC")
    scratch = tmp_path_factory.mktemp("lkvm")
    tree = scratch / "kvmtool"
    shutil.copytree(source, tree, ignore=shutil.ignore_patterns(".git", "*.o", "*.d"))
    for patch in sorted((SRCDIR / "flavors/kvm/lkvm-patches").glob("*.patch")):
        subprocess.run(["patch", "--strip=1", "--force", "--quiet", f"--input={patch}"], cwd=tree, check=True)
    command: list[str | Path] = [
        "gcc",
        "-g",
        "-O1",
        "-fno-omit-frame-pointer",
        SANITIZERS,
        "-D_FILE_OFFSET_BITS=64",
        "-D_GNU_SOURCE",
    ]
    command += ["-DCONFIG_X86", "-DCONFIG_X86_64", "-include", "linux/types.h", "-w", "-no-pie"]
    command += [f"-I{tree / name}" for name in ("", "include", "x86/include")]
    # What the devices need of the rest of lkvm is never called here.
    command += ["-Wl,--unresolved-symbols=ignore-all", "-o", scratch / "guest"]
    subprocess.run([*command, HARNESS, *(tree / name for name in SOURCES)], check=True)
    return scratch / "guest"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a file and links out of it, to a folder that nobody may touch."""
    for name in ("share/below", "outside/below"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "share/file").write_text("content")
    (tmp_path / "outside/secret").write_text("secret")
    (tmp_path / "outside/secret").chmod(0o640)
    (tmp_path / "share/folder").symlink_to(tmp_path / "outside")
    (tmp_path / "share/link").symlink_to(tmp_path / "outside/secret")
    return tmp_path / "share"


@pytest.fixture
def guest(program: Path, root: Path) -> Iterator[Guest]:
    running = Guest(program, root)
    running.obey(f"queue {QUEUE:x}")
    running.call(ATTACH, "IIssI", ROOT, 0xFFFFFFFF, "root", "", 0)
    yield running
    running.close()
    outside = root.parent / "outside"
    assert sorted(path.name for path in outside.rglob("*")) == ["below", "secret"]
    status = (outside / "secret").stat()
    assert (status.st_size, stat.S_IMODE(status.st_mode), status.st_nlink) == (6, 0o640, 1)


def refusal(guest: Guest, kind: int, layout: str, *values: int | str) -> int:
    """The number of the error that a request gets."""
    with pytest.raises(Refused) as caught:
        guest.call(kind, layout, *values)
    number: int = caught.value.args[0]
    return number


def test_what_an_ordinary_guest_does(guest: Guest) -> None:
    guest.walk(FILE, "file")
    guest.call(LOPEN, "II", FILE, os.O_RDWR)
    assert guest.call(READ, "IQI", FILE, 0, 100)[4:] == b"content"
    guest.set_attribute(FILE, ATTR_MODE | ATTR_SIZE, mode=0o604, size=3)
    assert (guest.root / "file").read_text() == "con"
    assert stat.S_IMODE((guest.root / "file").stat().st_mode) == 0o604
    guest.walk(OTHER, "below")
    guest.call(LCREATE, "IsIII", OTHER, "new", os.O_RDWR, 0o644, 0)
    assert guest.raw(TWRITE, struct.pack("<IQI", OTHER, 0, 3) + b"abc")[0] == TWRITE + 1
    assert (guest.root / "below/new").read_text() == "abc"
    guest.call(MKDIR, "IsII", ROOT, "made", 0o755, 0)
    guest.call(SYMLINK, "IssI", ROOT, "made-link", "target", 0)
    guest.call(LINK, "IIs", ROOT, FILE, "hard")
    guest.walk(OTHER, "made")
    guest.call(RENAME, "IIs", FILE, OTHER, "moved")
    assert sorted(str(path.relative_to(guest.root)) for path in guest.root.rglob("*")) == sorted(
        ["below", "below/new", "folder", "hard", "link", "made", "made-link", "made/moved"]
    )
    for name in ("hard", "made-link", "link"):
        guest.call(UNLINKAT, "IsI", ROOT, name, 0)
    guest.call(UNLINKAT, "IsI", OTHER, "moved", 0)
    guest.call(UNLINKAT, "IsI", ROOT, "made", 0x200)
    assert sorted(path.name for path in guest.root.iterdir()) == ["below", "folder"]


def test_what_was_renamed_is_found_by_those_who_know_it_already(guest: Guest) -> None:
    (guest.root / "below/old/deep").mkdir(parents=True)
    (guest.root / "below/old/deep/file").write_text("content")
    (guest.root / "below/older").mkdir()
    guest.walk(PARENT, "below")
    guest.walk(OTHER, "below", "old")
    guest.walk(FILE, "below", "old", "deep", "file")
    guest.call(RENAMEAT, "IsIs", PARENT, "old", PARENT, "new")
    guest.call(LOPEN, "II", OTHER, os.O_RDONLY)
    guest.call(LOPEN, "II", FILE, os.O_RDONLY)
    assert guest.call(READ, "IQI", FILE, 0, 100)[4:] == b"content"
    guest.walk(FILE, "below", "older")
    guest.call(RENAMEAT, "IsIs", PARENT, "new", ROOT, "old")
    guest.call(MKDIR, "IsII", FILE, "made", 0o755, 0)
    assert sorted(path.name for path in guest.root.rglob("*")) == sorted(
        ["below", "older", "made", "old", "deep", "file", "file", "folder", "link"]
    )


@pytest.mark.parametrize(
    "names", [("folder", "secret"), ("folder/secret",), ("folder/below",), ("below", "../folder/secret")]
)
def test_no_link_on_the_way_is_followed(guest: Guest, names: Sequence[str]) -> None:
    number = refusal(guest, WALK, "IIH" + "s" * len(names), ROOT, FILE, len(names), *names)
    assert number in {ELOOP, ENOTDIR, EACCES}


def test_nothing_is_made_or_removed_behind_a_link(guest: Guest) -> None:
    guest.walk(FILE, "folder")
    guest.walk(OTHER, "file")
    expected = {ELOOP, ENOTDIR}
    assert refusal(guest, MKDIR, "IsII", FILE, "made", 0o755, 0) in expected
    assert refusal(guest, SYMLINK, "IssI", FILE, "made", "target", 0) in expected
    assert refusal(guest, LINK, "IIs", FILE, OTHER, "made") in expected
    assert refusal(guest, RENAME, "IIs", OTHER, FILE, "made") in expected
    assert refusal(guest, UNLINKAT, "IsI", FILE, "secret", 0) in expected
    assert refusal(guest, LOPEN, "II", FILE, os.O_RDONLY) >= 0
    assert refusal(guest, LCREATE, "IsIII", FILE, "made", os.O_RDWR, 0o644, 0) in expected


def test_a_link_itself_is_not_followed(guest: Guest) -> None:
    guest.walk(FILE, "link")
    for attribute in (ATTR_MODE, ATTR_SIZE):
        with pytest.raises(Refused) as caught:
            guest.set_attribute(FILE, attribute, mode=0o777)
        assert caught.value.args[0] in {ELOOP, EOPNOTSUPP}
    assert refusal(guest, LOPEN, "II", FILE, os.O_RDWR) >= 0


@pytest.mark.parametrize("name", ["..", "../outside/made", "below/../../outside/made", "x/.."])
def test_names_that_climb(guest: Guest, name: str) -> None:
    assert refusal(guest, MKDIR, "IsII", ROOT, name, 0o755, 0) == EACCES
    assert refusal(guest, WALK, "IIHs", ROOT, FILE, 1, name) == EACCES


def test_a_path_that_grows_too_long(guest: Guest) -> None:
    guest.walk(FILE, "./" * 1000 + ".")
    assert refusal(guest, LCREATE, "IsIII", FILE, "/" * 2500, os.O_RDWR, 0o644, 0) == ENAMETOOLONG
    guest.walk(OTHER, "file")


@pytest.mark.parametrize("length", [0x7FFF, 0x8000, 0xFFFF])
def test_a_text_that_is_longer_than_the_request(guest: Guest, length: int) -> None:
    body = struct.pack("<IIHH", ROOT, FILE, 1, length) + b"x" * 3000
    answer, _ = guest.raw(WALK, body)
    assert answer in {ERROR, WALK + 1}
    assert guest.close() == ""


@pytest.mark.parametrize(
    "descriptors",
    [
        pytest.param([(REQUEST, 16, NEXT, 1), (REPLY, 16, NEXT | WRITE, 0)], id="circle"),
        pytest.param([(REQUEST, 16, NEXT, 0)], id="itself"),
        pytest.param([(REQUEST, 16, NEXT, 128)], id="next-outside"),
        pytest.param([(MEMORY - 8, 16, 0, 0)], id="end-of-memory"),
        pytest.param([(MEMORY, 16, 0, 0)], id="outside"),
        pytest.param([(1 << 63, 16, 0, 0)], id="far-outside"),
        pytest.param([(REQUEST, 0xFFFFFFFF, 0, 0)], id="huge"),
    ],
)
@pytest.mark.parametrize("device", ["9p", "buffers"])
def test_descriptors_against_the_rules(guest: Guest, device: str, descriptors: list[tuple[int, int, int, int]]) -> None:
    guest.offer(*descriptors)
    if device == "buffers" and descriptors[0][3] == 128:
        assert guest.obey(device) == "1 0", "the chain ends there"
        return
    with pytest.raises(Ended, match="virtio: the guest gave a"):
        guest.obey(device)


@pytest.mark.parametrize("device", ["9p", "buffers"])
def test_a_descriptor_that_is_not_in_the_table(guest: Guest, device: str) -> None:
    guest.offer((REQUEST, 16, 0, 0), head=0xFFFF)
    with pytest.raises(Ended, match="a descriptor outside its table"):
        guest.obey(device)


@pytest.mark.parametrize(
    ("address", "size", "next_one", "message"),
    [
        (REPLY, 32, 0, "a chain of descriptors"),
        (MEMORY - 16, 32, 1, "a table outside its memory"),
        (REPLY, 8, 0, "a descriptor outside its table"),
    ],
)
def test_indirect_descriptors(guest: Guest, address: int, size: int, next_one: int, message: str) -> None:
    guest.write(REPLY, struct.pack("<QIHH", REQUEST, 16, NEXT, next_one) * 2)
    guest.offer((address, size, INDIRECT, 0))
    with pytest.raises(Ended, match=message):
        guest.obey("buffers")


def test_indirect_descriptors_of_an_ordinary_guest(guest: Guest) -> None:
    table = [(REQUEST, 16, NEXT, 1), (REQUEST, 16, NEXT, 2), (REPLY, 16, WRITE, 0)]
    guest.write(REPLY, b"".join(struct.pack("<QIHH", *item) for item in table))
    guest.offer((REPLY, 48, INDIRECT, 0))
    assert guest.obey("buffers") == "2 1"


def test_a_chain_as_long_as_the_queue(guest: Guest) -> None:
    guest.offer(*[(REQUEST, 16, NEXT * (number < 127), number + 1) for number in range(128)])
    assert guest.obey("buffers") == "128 0"


@pytest.mark.parametrize("address", [MEMORY, MEMORY - 0x1000, MEMORY - 0x2000, 0xFFFFFFFF])
def test_a_queue_outside_the_memory(program: Path, root: Path, address: int) -> None:
    guest = Guest(program, root)
    with pytest.raises(Ended, match="a queue outside its memory"):
        guest.obey(f"queue {address:x}")


@pytest.mark.parametrize(("kind", "asking", "answering"), [(READ, 0, 4), (TWRITE, 20, SIZE), (READ, 3, SIZE)])
def test_messages_without_their_head(guest: Guest, kind: int, asking: int, answering: int) -> None:
    guest.walk(FILE, "file")
    guest.call(LOPEN, "II", FILE, os.O_RDWR)
    with pytest.raises(Ended, match="9p re"):
        guest.raw(kind, struct.pack("<IQI", FILE, 0, 0xFFFFFFF0), asking, answering)
