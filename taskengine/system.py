"""What POSIX systems and Windows differ in. No other module asks which of them it runs on, but for what is Linux's alone:
what confines subprocesses (`sandbox.py`), and the launcher that they are started by (`_launcher.py`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ENDING: Sequence[int]  # what ends a subprocess, one after the other
STOPPING: Sequence[int]  # the signals that ask this process to end
LAUNCHER: Sequence[str]  # what becomes a subprocess's program, if anything does
APART: Mapping[str, Any]  # has a subprocess not hear what is said to this process's terminal
EXE: str  # ends the names of programs
ENVIRONMENT: Sequence[str]  # what a subprocess is told of this process's own
DESCRIPTORS = os.open in os.supports_dir_fd  # whether names can be taken relative to an open folder
_NAME_SURROGATE = 0x20000000  # marks, of Windows' reparse points, what stands for another name: links and junctions


def is_link(status: os.stat_result) -> bool:
    """Whether a name leads elsewhere: a symbolic link, or a junction of Windows (which `stat` takes for a folder)."""
    link = status.st_mode & 0o170000 == 0o120000
    return link or bool(getattr(status, "st_reparse_tag", 0) & _NAME_SURROGATE)


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if sys.platform == "win32":
    import _winapi
    import ctypes
    import msvcrt
    import struct
    import time

    _SHARED = 1 | 2 | 4  # others may read, write, and rename or delete, as they may elsewhere
    _DELETE, _CREATE_NEW, _OPEN_ALWAYS, _DELETE_ON_CLOSE = 0x10000, 1, 4, 0x04000000
    _IN_USE = {5, 32}  # "access denied" is also said of a file that someone has open
    _KILL_ON_JOB_CLOSE, _EXTENDED_LIMITS = 0x2000, 9
    _REPLACING_S = (0.01, 0.03, 0.1, 0.3, 0.6)  # between tries: who reads a playlist has it open for a moment
    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel.CreateJobObjectW.restype = ctypes.c_void_p
    _moving = threading.Lock()  # a descriptor has one position

    ENDING = (signal.SIGTERM,)
    STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGBREAK)
    LAUNCHER = ()
    APART = {"creationflags": subprocess.CREATE_NO_WINDOW}
    EXE = ".exe"
    ENVIRONMENT = ("SYSTEMROOT",)  # nothing starts without it

    # ---- files

    def open_file(path: str | Path, *, dir_fd: int | None = None) -> int:  # noqa: ARG001 - as elsewhere
        """A file for reading; ELOOP where its name is a link."""
        file = _open(path, _winapi.GENERIC_READ, _winapi.OPEN_EXISTING, os.O_RDONLY)
        named = os.lstat(path)
        if is_link(named) or not os.path.samestat(named, os.fstat(file)):
            os.close(file)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return file

    def new_file(path: str | Path, *, dir_fd: int | None = None) -> int:  # noqa: ARG001 - as elsewhere
        """A file that does not exist yet, for reading and writing."""
        return _open(path, _winapi.GENERIC_READ | _winapi.GENERIC_WRITE, _CREATE_NEW, os.O_RDWR)

    def _open(path: str | Path, access: int, how: int, flags: int, *, share: int = _SHARED, more: int = 0) -> int:
        handle = _winapi.CreateFile(str(path), access, share, 0, how, more, 0)
        return msvcrt.open_osfhandle(handle, flags | os.O_BINARY | os.O_NOINHERIT)

    def unnamed_file(dir_fd: int | None) -> int | None:  # noqa: ARG001 - as elsewhere
        """There are none here."""
        return None

    def open_folder(name: str, *, dir_fd: int | None = None, follow: bool = False) -> int:
        """Folders have no descriptors here."""
        raise NotImplementedError(name, dir_fd, follow)

    def sync_content(file: int, path: str, dir_fd: int | None) -> None:  # noqa: ARG001 - as elsewhere
        """Make a file durable that `file` may only read."""
        with open(path, "r+b") as writable:  # noqa: PTH123 - a name as the others of this module take it
            os.fsync(writable.fileno())

    def read_at(file: int, length: int, start: int) -> bytes:
        """What a file has at a place; threads may ask at once."""
        with _moving:
            os.lseek(file, start, os.SEEK_SET)
            return os.read(file, length)

    def write_at(file: int, data: memoryview, start: int) -> int:
        """Write at a place of a file; threads may do so at once. How much was written."""
        with _moving:
            os.lseek(file, start, os.SEEK_SET)
            return os.write(file, data)

    def copy_in_kernel(source: int, target: int, length: int) -> int:  # noqa: ARG001 - as elsewhere
        """Nothing is copied so here."""
        return 0

    def in_use(error: OSError) -> bool:
        """Whether it may pass, as someone has the file open."""
        return error.winerror in _IN_USE

    def replace(source: str, target: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:  # noqa: ARG001 - as elsewhere
        """Give a file the name of another in one step. What someone has open is not replaced here: some tries are made."""
        for wait_s in _REPLACING_S:
            try:
                Path(source).replace(target)
            except PermissionError:
                time.sleep(wait_s)
            else:
                return
        Path(source).replace(target)

    def hold_folder(folder: Path) -> int | None:
        """Hold a directory by a file beside it, which goes with this process; None where another process holds it, or took
        it away in the meantime."""
        access = _winapi.GENERIC_WRITE | _DELETE
        try:
            lock = _open(f"{folder}.lock", access, _OPEN_ALWAYS, os.O_WRONLY, share=0, more=_DELETE_ON_CLOSE)
        except OSError as error:
            if error.winerror not in _IN_USE:
                raise
            return None
        if folder.is_dir():
            return lock
        os.close(lock)
        return None

    # ---- processes

    class ProcessGroup:
        """A subprocess with all that it starts: a job of Windows, which ends with this process."""

        def __init__(self, pid: int) -> None:
            self._job = ctypes.c_void_p(_kernel.CreateJobObjectW(None, None))
            # JOBOBJECT_EXTENDED_LIMIT_INFORMATION: of its fields only the flags are set
            limits = struct.pack("@qqINNINII6Q4N", 0, 0, _KILL_ON_JOB_CLOSE, *[0] * 16)
            _kernel.SetInformationJobObject(self._job, _EXTENDED_LIMITS, limits, len(limits))
            self._process = _winapi.OpenProcess(_winapi.PROCESS_ALL_ACCESS, False, pid)
            _kernel.AssignProcessToJobObject(self._job, ctypes.c_void_p(self._process))

        def signal(self, number: int) -> None:  # noqa: ARG002 - as elsewhere
            """End it at once: there are no signals here. It may be in no job, where an old Windows has ours in one."""
            _kernel.TerminateJobObject(self._job, 1)
            with suppress(OSError):
                _winapi.TerminateProcess(self._process, 1)

        def close(self) -> None:
            """Forget it; what is left of it ends."""
            _kernel.CloseHandle(self._job)
            _winapi.CloseHandle(self._process)

    def unblock(descriptor: int) -> None:
        """A pipe need not be: no process but this one has its other end here."""

    @contextmanager
    def caught(numbers: Sequence[int], call: Callable[[int], None]) -> Iterator[None]:
        """Have the running loop make a call for each of these signals."""
        loop = asyncio.get_running_loop()
        previous = {number: signal.getsignal(number) for number in numbers}
        for number in numbers:
            signal.signal(number, lambda n, _: loop.call_soon_threadsafe(call, n))
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def quick_loop() -> asyncio.AbstractEventLoop:
        """The quickest loop for a process that spawns nothing: the forks of uvloop would hold it."""
        return asyncio.new_event_loop()

    def memory_bytes() -> int:
        """The machine's memory; 0 where it does not tell."""
        return 0

else:
    import fcntl

    ENDING = (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL)
    STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    LAUNCHER = (sys.executable, "-I", "-S", str(Path(__file__).with_name("_launcher.py")))
    APART = {"start_new_session": True}
    EXE = ""
    ENVIRONMENT = ()

    # ---- files

    def open_file(path: str | Path, *, dir_fd: int | None = None) -> int:
        """A file for reading; ELOOP where its name is a link. A pipe does not hold the caller."""
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=dir_fd)

    def new_file(path: str | Path, *, dir_fd: int | None = None) -> int:
        """A file that does not exist yet, for reading and writing."""
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=dir_fd)

    def unnamed_file(dir_fd: int | None) -> int | None:
        """A file in a folder that has no name yet, where this disk and system can."""
        with suppress(OSError, AttributeError):
            return os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o666, dir_fd=dir_fd)
        return None

    def open_folder(name: str, *, dir_fd: int | None = None, follow: bool = False) -> int:
        """A folder's descriptor."""
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | (0 if follow else os.O_NOFOLLOW), dir_fd=dir_fd)

    def sync_content(file: int, path: str, dir_fd: int | None) -> None:  # noqa: ARG001 - as elsewhere
        """Make a file durable that `file` may only read."""
        os.fsync(file)

    read_at = os.pread
    write_at = os.pwrite

    def copy_in_kernel(source: int, target: int, length: int) -> int:
        """Copy from one open file to another without reading it; 0 at its end, and where the system cannot."""
        return os.copy_file_range(source, target, length) if hasattr(os, "copy_file_range") else 0

    replace = os.replace

    def in_use(error: OSError) -> bool:  # noqa: ARG001 - as elsewhere
        """Nothing is in the way of others because it is open."""
        return False

    def hold_folder(folder: Path) -> int | None:
        """Hold a directory by a lock that goes with this process; None where another process holds it, or took it away in
        the meantime."""
        with suppress(FileNotFoundError):
            lock = open_folder(str(folder))
            with suppress(BlockingIOError, FileNotFoundError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), folder.lstat()):
                    return lock
            os.close(lock)
        return None

    # ---- processes

    class ProcessGroup:
        """A subprocess with all that it starts: the process group that it leads."""

        def __init__(self, pid: int) -> None:
            self._pid = pid

        def signal(self, number: int) -> None:
            """Send a signal to all of them."""
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, number)

        def close(self) -> None:
            """Forget it."""

    def unblock(descriptor: int) -> None:
        """Let nothing wait for what a pipe does not have."""
        os.set_blocking(descriptor, False)

    @contextmanager
    def caught(numbers: Sequence[int], call: Callable[[int], None]) -> Iterator[None]:
        """Have the running loop make a call for each of these signals; not for a SIGHUP that is ignored, as under `nohup`."""
        loop = asyncio.get_running_loop()
        ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        heard = [number for number in numbers if not (ignores_hangup and number == signal.SIGHUP)]
        for number in heard:
            loop.add_signal_handler(number, call, number)
        try:
            yield
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    def quick_loop() -> asyncio.AbstractEventLoop:
        """The quickest loop for a process that spawns nothing: the forks of uvloop would hold it."""
        import uvloop

        return uvloop.new_event_loop()

    def memory_bytes() -> int:
        """The machine's memory; 0 where it does not tell."""
        known = {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys()
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if known else 0
