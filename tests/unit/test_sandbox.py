"""What confines subprocesses, tried from inside by a program that wants out."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from taskengine.app.workers import worker_sandbox
from taskengine.call_filter import SELF, call_filter
from taskengine.domain.errors import InvalidRequest
from taskengine.media.tools import find_tools
from taskengine.process import ResourceLimits, SubprocessRunner
from taskengine.sandbox import Sandbox, find_sandbox
from taskengine.settings import load_settings

FOUND = find_sandbox()
pytestmark = pytest.mark.skipif(bool(FOUND.missing), reason=f"this machine lacks {'; '.join(FOUND.missing)}")
LIMITS = ResourceLimits()
PYTHON = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent]
TRIES = """
    import ctypes, fcntl, json, os, resource, socket, subprocess, sys, threading

    outside, secret, wanted = sys.argv[1:4]
    libc = ctypes.CDLL(None, use_errno=True)
    NUMBERS = {"io_uring_setup": 425, "pidfd_open": 434}  # the same on every architecture
    parent = os.getppid()

    def call(name, *arguments):
        if libc.syscall(NUMBERS[name], *arguments) < 0:
            raise OSError(ctypes.get_errno(), "refused")

    def libc_call(name, *arguments):
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), "refused")

    def write(path):
        with open(path, "w") as file:
            file.write("x")

    def prlimit():
        limits = (ctypes.c_ulong * 2)()
        libc_call("prlimit", parent, 7, None, limits)
        libc_call("prlimit", parent, 7, limits, None)

    def own():
        with open("owned", "w") as file:
            fcntl.fcntl(file, fcntl.F_SETOWN, parent)

    def share():
        number = libc.shmget(0, 4096, 0o1600)
        if number < 0:
            raise OSError(ctypes.get_errno(), "refused")
        libc.shmctl(number, 0, None)

    ATTEMPTS = {
        "read": lambda: open(secret).read(),
        "list": lambda: os.listdir(outside),
        "write": lambda: write(outside + "/new"),
        "overwrite": lambda: write(secret),
        "truncate": lambda: os.truncate(secret, 0),
        "delete": lambda: os.unlink(secret),
        "rename": lambda: os.rename(secret, "mine"),
        "link": lambda: os.link(secret, "mine"),
        "symlink": lambda: os.symlink(secret, "link"),
        "fifo": lambda: os.mkfifo("pipe"),
        "passwd": lambda: open("/etc/passwd").read(),
        "tmp": lambda: write("/tmp/taskengine-sandbox-test"),
        "environ": lambda: open(f"/proc/{os.getppid()}/environ").read(),
        "inet": lambda: socket.socket(socket.AF_INET),
        "inet6": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM),
        "unix": lambda: socket.socket(socket.AF_UNIX),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "pair": lambda: socket.socketpair(),
        "io_uring": lambda: call("io_uring_setup", 8, 0),
        "pidfd": lambda: call("pidfd_open", os.getppid(), 0),
        "unshare": lambda: libc_call("unshare", 0x10000000),
        "ptrace": lambda: libc_call("ptrace", 0, 0, 0, 0),
        "mount": lambda: libc_call("mount", b"none", b".", b"tmpfs", 0, None),
        "chmod": lambda: os.chmod(secret, 0o777),
        "chown": lambda: os.chown(secret, os.getuid(), os.getgid()),
        "utime": lambda: os.utime(secret),
        "xattr": lambda: os.setxattr(secret, "user.x", b"1"),
        "watch": lambda: libc_call("inotify_init"),
        "kill": lambda: os.kill(parent, 0),
        "kill_all": lambda: os.kill(-1, 0),
        "prlimit": prlimit,
        "nice": lambda: os.setpriority(os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent)),
        "affinity": lambda: os.sched_setaffinity(parent, os.sched_getaffinity(parent)),
        "own": own,
        "share": share,
        "memory": lambda: os.memfd_create("x"),
        "raise_limit": lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)),
        "chroot": lambda: os.chroot("."),
        "chroot_out": lambda: open("../" * 20 + secret.lstrip("/")).read(),
    }
    told = {}
    for name, attempt in ATTEMPTS.items():
        if wanted != "all" and name not in wanted.split():
            continue
        try:
            attempt()
            told[name] = "done"
        except OSError as error:
            told[name] = error.strerror
        except ValueError:
            told[name] = "refused"

    os.kill(os.getpid(), 0)
    with open("dated", "w") as file:
        os.utime(file.fileno())
    os.unlink("dated")
    if os.path.exists("owned"):
        os.unlink("owned")
    thread = threading.Thread(target=write, args=["by_thread"])
    thread.start()
    thread.join()
    os.makedirs("a/b")
    write("a/b/c")
    os.rename("a/b/c", "moved")
    os.link("moved", "linked")
    write(os.devnull)
    try:
        child = subprocess.run(["/bin/cat", secret], capture_output=True)
        told["child"] = child.stderr.decode()
    except OSError as error:
        told["child"] = error.strerror
    print(json.dumps({"told": told, "environ": dict(os.environ), "files": sorted(os.listdir("."))}))
"""


async def _tried(work: Path, sandbox: Sandbox, *arguments: str, children: bool = True) -> Mapping[str, Any]:
    """What a program under a sandbox could do."""
    program = [sys.executable, "-I", "-S", "-c", dedent(TRIES), *arguments]
    result = await SubprocessRunner(LIMITS, sandbox=sandbox).run(program, cwd=work, children=children)
    assert result.exit_code == 0, result.stderr_tail
    told: Mapping[str, Any] = json.loads(result.stdout)
    return told


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder beside the program's own, with a secret in it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The program's own folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("landlock", [2, FOUND.landlock])
async def test_a_program_sees_its_own_files_alone_and_no_network(
    outside: Path, work: Path, landlock: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor other processes; nor does what it starts; threads, folders and names within its own folder are its own business.

    So it is with an older kernel, whose Landlock knows nothing of truncation and signals.
    """
    monkeypatch.setenv("OF_THE_WORKER", "secret")
    sandbox = replace(FOUND, landlock=landlock, reads=[*PYTHON, Path("/bin"), Path("/usr/bin")])
    before = (outside / "secret").stat()
    tried = await _tried(work, sandbox, str(outside), str(outside / "secret"), "all")
    denied = {"Permission denied", "Operation not permitted", "refused", "Invalid cross-device link"}
    child = tried["told"].pop("child")
    assert {name: told for name, told in tried["told"].items() if told not in denied} == {}
    assert "Permission denied" in child
    assert (outside / "secret").read_text() == "secret"
    after = (outside / "secret").stat()
    assert (after.st_mode, after.st_ctime_ns) == (before.st_mode, before.st_ctime_ns)
    assert [path.name for path in outside.iterdir()] == ["secret"]
    assert set(tried["environ"]) <= {"LC_ALL", "LC_CTYPE", "HOME", "TMPDIR", "PWD"}
    assert tried["files"] == ["a", "by_thread", "linked", "moved"]


async def test_without_a_sandbox_the_same_program_gets_out(outside: Path, work: Path) -> None:
    """So the attempts above are real ones."""
    harmless = (
        "read list write link symlink fifo passwd environ inet inet6 unix pair pidfd chroot_out chmod chown utime watch "
        "kill prlimit nice affinity own share memory"
    )
    tried = await _tried(work, Sandbox(), str(outside), str(outside / "secret"), harmless)
    rights = {"environ", "nice", "affinity"} if os.geteuid() == 0 else set()  # which root did not pass on
    assert {name for name, told in tried["told"].items() if told == "done"} == set(harmless.split()) - rights


async def test_a_program_that_may_start_no_others_starts_none(outside: Path, work: Path) -> None:
    """Which is what media programs get; threads it may have."""
    sandbox = replace(FOUND, reads=[*PYTHON, Path("/bin"), Path("/usr/bin")])
    tried = await _tried(work, sandbox, str(outside), str(outside / "secret"), "", children=False)
    assert tried["told"] == {"child": "Operation not permitted"}
    assert "by_thread" in tried["files"]


DAEMON = """
    import os, time

    if os.fork() == 0:
        try:
            os.setsid()
        except OSError:
            pass
        if os.fork() == 0:
            for number in (0, 1, 2):
                os.close(number)
            with open("daemon", "w") as file:
                file.write(str(os.getpid()))
            time.sleep(60)
        os._exit(0)
    while not (os.path.exists("daemon") and open("daemon").read()):
        time.sleep(0.01)
"""


@pytest.mark.parametrize("sandbox", [Sandbox(), replace(FOUND, reads=PYTHON)], ids=["free", "confined"])
async def test_what_wants_to_stay_behind_is_ended_with_its_program(work: Path, sandbox: Sandbox) -> None:
    """Forked twice, with nobody's descriptors; outside of a sandbox it gets away, so it is a real attempt."""
    program = [sys.executable, "-I", "-S", "-c", dedent(DAEMON)]
    result = await SubprocessRunner(sandbox=sandbox).run(program, cwd=work, children=True)
    assert result.exit_code == 0, result.stderr_tail
    daemon = os.pidfd_open(int((work / "daemon").read_text())) if _alive(work) else None
    try:
        assert (daemon is not None and not select.select([daemon], [], [], 2.0)[0]) == (sandbox == Sandbox())
    finally:
        if daemon is not None:
            signal.pidfd_send_signal(daemon, signal.SIGKILL)
            os.close(daemon)


def _alive(work: Path) -> bool:
    return Path("/proc", (work / "daemon").read_text()).exists()


async def test_a_worker_that_is_root_passes_none_of_its_rights_on(work: Path) -> None:
    """But to read inputs of other users."""
    script = 'while read -r name value; do case $name in CapPrm:|CapEff:|CapAmb:) echo "$value";; esac; done </proc/self/status'
    result = await SubprocessRunner().run(["/bin/sh", "-c", script], cwd=work)
    assert len(result.stdout.split()) == 3
    assert {int(rights, 16) for rights in result.stdout.split()} <= {0, 1 << 2}


async def test_a_file_that_was_linked_into_its_folder_is_readable(outside: Path, work: Path) -> None:
    """As inputs are, where workspace and scratch are on one disk."""
    os.link(outside / "secret", work / "input")
    result = await SubprocessRunner(sandbox=FOUND).run(["/bin/cat", "input"], cwd=work)
    assert (result.exit_code, result.stdout) == (0, b"secret")


async def test_the_media_programs_work_within_it(work: Path) -> None:
    """Encoding with threads, probing, packaging."""
    tools, runner = find_tools(), SubprocessRunner(sandbox=FOUND)
    source = "testsrc2=size=160x90:rate=25:duration=1"
    encoding = ["-f", "lavfi", "-i", source, "-c:v", "libx264", "-threads", "4", "made.mp4"]
    encoded = await runner.run([tools.ffmpeg, "-nostdin", "-y", *encoding], cwd=work)
    probed = await runner.run([tools.ffprobe, "-v", "error", "-show_streams", "made.mp4"], cwd=work)
    descriptor = "in=made.mp4,stream=video,init_segment=i.mp4,segment_template=s$Number$.m4s"
    packaged = await runner.run([tools.packager, "--quiet", descriptor, "--mpd_output", "m.mpd"], cwd=work)
    codes = (encoded.exit_code, probed.exit_code, packaged.exit_code)
    assert codes == (0, 0, 0), encoded.stderr_tail + probed.stderr_tail + packaged.stderr_tail
    assert (work / "m.mpd").exists()


@pytest.mark.parametrize("place", ["/etc/passwd", "http://127.0.0.1:9/x.mp4", "tcp://127.0.0.1:9", "unix:/run/x"])
async def test_ffmpeg_reads_nothing_else_whatever_it_is_told(work: Path, place: str) -> None:
    """Without any of the options that also forbid it."""
    result = await SubprocessRunner(sandbox=FOUND).run([find_tools().ffmpeg, "-nostdin", "-i", place], cwd=work)
    assert result.exit_code != 0
    assert "ermission denied" in result.stderr_tail or "not permitted" in result.stderr_tail


@pytest.mark.parametrize(
    ("machine", "architecture", "calls"),
    [
        (
            "x86_64",
            0xC000003E,
            {
                "read": 0, "openat": 257, "socket": 41, "connect": 42, "clone": 56, "execve": 59, "kill": 62, "prlimit64": 302,
                "utimensat": 280, "fcntl": 72, "fchmodat": 268,
            },
        ),
        (
            "aarch64",
            0xC00000B7,
            {
                "read": 63, "openat": 56, "socket": 198, "connect": 203, "clone": 220, "execve": 221, "kill": 129,
                "prlimit64": 261, "utimensat": 88, "fcntl": 25, "fchmodat": 53,
            },
        ),
    ],
)  # fmt: skip
def test_the_filter_of_each_architecture(machine: str, architecture: int, calls: Mapping[str, int]) -> None:
    """Judged step by step, as the kernel would: also for the machine that this one is not."""
    alone, with_others = call_filter(machine, children=False), call_filter(machine, children=True)
    thread, process, namespaces = 0x3D0F00, 0x11, 0x10000011

    def judged(number: int, first: int = 0, second: int = 0, of: int = architecture, program: Program = alone) -> str:
        found = _run(program, number, of, first, second)
        return {0x7FFF0000: "allowed", 0x50001: "refused", 0x50026: "unknown"}[found]

    assert {judged(calls[name]) for name in ("read", "openat", "execve")} == {"allowed"}
    assert {judged(calls[name]) for name in ("socket", "connect", "fchmodat")} | {judged(425), judged(434)} == {
        "refused"
    }
    clone = calls["clone"]
    assert [judged(clone, flags) for flags in (thread, process, namespaces)] == ["allowed", "refused", "refused"]
    assert [judged(clone, flags, program=with_others) for flags in (thread, process, namespaces)] == [
        "allowed", "allowed", "refused",
    ]  # fmt: skip
    for name in ("kill", "prlimit64"):
        assert [judged(calls[name], of_whom) for of_whom in (0, SELF, 1)] == ["allowed", "allowed", "refused"]
    names = [judged(calls["utimensat"], 3, name) for name in (0, 0x7F, 0x7F00000000)]
    assert names == ["allowed", "refused", "refused"]
    assert [judged(calls["fcntl"], 3, what) for what in (1, 4, 8, 15)] == ["allowed", "allowed", "refused", "refused"]
    assert judged(435) == "unknown"
    assert judged(calls["read"], of=0x40000003) == judged(calls["read"] | 0x40000000) == "refused"


Program = Sequence[tuple[int, int, int, int]]


def _run(program: Program, number: int, architecture: int, first: int, second: int) -> int:
    """What a program of BPF answers."""
    data = {0: number, 4: architecture, 16: first, 24: second & 0xFFFFFFFF, 28: second >> 32}
    loaded, place = 0, 0
    while True:
        operation, then, otherwise, operand = program[place]
        if operation == 0x06:
            return operand
        if operation == 0x20:
            loaded, step = data[operand], 0
        else:
            tests = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}
            step = then if tests[operation] else otherwise
        place += 1 + step


def test_a_worker_that_must_be_confined_does_not_start_where_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `auto` it starts, and tells what is missing."""
    monkeypatch.setattr("taskengine.sandbox._landlock", lambda: 0)
    given = {"data_dir": tmp_path}
    found = worker_sandbox(load_settings(given, env={}))
    assert found.described()["files"].startswith("files: not confined: the kernel has no Landlock")
    assert found.described()["network"] == "OK"
    with pytest.raises(InvalidRequest, match="sandbox is required, and this machine lacks it: files: not confined"):
        worker_sandbox(load_settings({**given, "sandbox.mode": "required"}, env={}))
    off = worker_sandbox(load_settings({**given, "sandbox.mode": "off"}, env={}))
    assert (off.landlock, off.seccomp) == (0, False)
