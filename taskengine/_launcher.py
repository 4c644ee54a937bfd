"""Become a program that dies with its parent, within resource limits and a sandbox. Run as `python -I -S`; see `process`.

Arguments: the parent's process id, a descriptor for faults, limits (`resource:value,…`), what confines it (the version of
Landlock, 0 for none, and the filter of calls in hexadecimal, or nothing: `7:2000…`), how many paths follow and these
(`r/path` to read and execute, `w/path` to write too), the program's path, its argv.
It stands alone and stays tiny: it is compiled and run anew for each subprocess. A Python hook between fork and exec
would make the worker fork instead, which is slow with much memory and unsafe with threads.
"""

import ctypes
import os
import resource
import struct
import sys

assert sys.platform != "win32"  # noqa: S101 - it is POSIX's alone

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 22, 24, 38, 47
_CLEAR_ALL = 4  # of the ambient capabilities
_CAP_DAC_READ_SEARCH, _CAPABILITIES = 2, 64  # the one that is left, and more than there are
_SIGKILL, _SIGPIPE, _SIGXFSZ = 9, 13, 25  # the signal module would take a third of the start-up time
_SELF = b"\xff\xff\xff\xff"  # stands in the filter for this process's id

# Landlock: numbers of its calls, the same on every architecture, and rights by the version that brought them.
_CREATE, _ADD, _RESTRICT, _PATH_BENEATH = 444, 445, 446, 1
_FILE_READ, _FILE_WRITE, _DIR_READ = 0b101, 0b10, 0b1000  # execute and read, write; list
_V1, _REFER, _TRUNCATE, _IOCTL_DEV = (1 << 13) - 1, 1 << 13, 1 << 14, 1 << 15
_SPECIAL = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12  # devices, sockets, pipes and links: nobody makes them
_TCP, _SCOPED = 0b11, 0b11  # bind and connect; abstract sockets and signals


def main(parent: int, faults: int, limits: str, confined: str, paths: list[str], program: str, argv: list[str]) -> None:
    """Prepare this process and replace it by the program; say on `faults` why it could not."""
    try:
        os.set_inheritable(faults, False)
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            _prctl(libc, _PR_SET_PDEATHSIG, _SIGKILL)
            _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)  # a set-user-id program would undo the line before
            _offer_itself()
            _drop_capabilities(libc)
        if os.getppid() != parent:  # it died before it could take this process along
            os._exit(127)
        for ignored_by_python in (_SIGPIPE, _SIGXFSZ):
            libc.signal(ignored_by_python, None)
        for limit in limits.split(","):
            _limit(*limit.split(":"))
        landlock, _, calls = confined.partition(":")
        if landlock != "0":
            _confine_files(libc, int(landlock), paths)
        if calls:
            _confine_calls(libc, calls)
        os.execv(program, argv)  # noqa: S606 - no shell is what is wanted
    except (OSError, ValueError, AttributeError, KeyError) as error:
        os.write(faults, (getattr(error, "strerror", None) or repr(error)).encode())
    os._exit(127)


def _prctl(libc: ctypes.CDLL, option: int, value: int, more: int = 0) -> None:
    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(more), zero, zero):
        raise OSError(ctypes.get_errno(), f"prctl {option} failed: {os.strerror(ctypes.get_errno())}")


def _offer_itself() -> None:
    """Where memory is short, the kernel ends this process before its worker. Without /proc it chooses for itself."""
    try:
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        return
    os.write(score, b"1000")
    os.close(score)


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """What a worker may as root its programs may not, but read inputs that are another user's.

    Who lacks the right to drop them is not root and has none to pass on but ambient ones; old kernels know none of those.
    """
    libc.prctl(_PR_CAP_AMBIENT, *map(ctypes.c_ulong, (_CLEAR_ALL, 0, 0, 0)))
    for number in range(_CAPABILITIES):
        if number != _CAP_DAC_READ_SEARCH:
            libc.prctl(_PR_CAPBSET_DROP, *map(ctypes.c_ulong, (number, 0, 0, 0)))


def _limit(name: str, most: str) -> None:
    number, value = getattr(resource, name), int(most)
    hard = resource.getrlimit(number)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(number, (value, value))


def _confine_files(libc: ctypes.CDLL, version: int, paths: list[str]) -> None:
    """See and change these paths alone; no TCP, no signals to others, where the kernel knows how to refuse them."""
    known = (
        _V1 | (_REFER if version > 1 else 0) | (_TRUNCATE if version > 2 else 0) | (_IOCTL_DEV if version > 4 else 0)
    )
    attributes = struct.pack("=QQQ", known, _TCP if version > 3 else 0, _SCOPED if version > 5 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _call(libc, _CREATE, attributes, size, 0)
    for entry in paths:
        try:
            path = os.open(entry[1:], os.O_PATH)
        except FileNotFoundError:
            continue
        rights = _FILE_READ | (known & (_FILE_WRITE | _TRUNCATE) if entry[0] == "w" else 0)
        if os.fstat(path).st_mode & 0o170000 == 0o040000:
            rights |= known & ~_SPECIAL & ~_IOCTL_DEV if entry[0] == "w" else _DIR_READ
        _call(libc, _ADD, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights & known, path), 0)
        os.close(path)
    _call(libc, _RESTRICT, ruleset, 0)
    os.close(ruleset)


def _confine_calls(libc: ctypes.CDLL, encoded: str) -> None:
    """Refuse system calls by a filter (`call_filter.py`) that holds for all that follows."""
    code = bytes.fromhex(encoded).replace(_SELF, os.getpid().to_bytes(4, "little"))
    kept = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(kept)))
    _prctl(libc, _PR_SET_SECCOMP, 2, ctypes.addressof(header))


def _call(libc: ctypes.CDLL, number: int, *arguments: object) -> int:
    values = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result = int(libc.syscall(ctypes.c_long(number), *values))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock {number}: {os.strerror(ctypes.get_errno())}")
    return result


if __name__ == "__main__":
    count = int(sys.argv[5])
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[6 : 6 + count], sys.argv[6 + count],
         sys.argv[7 + count :])  # fmt: skip
