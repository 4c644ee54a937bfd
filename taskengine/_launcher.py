"""Become a program that dies with its parent, within resource limits and a sandbox. Run as `python -I -S`; see `process`.

Arguments: the parent's process id, a descriptor for faults, limits (`resource:value,…`), what confines it (the version of
Landlock and 1 for seccomp, `7:1`; 0 is none), how many paths follow and these (`r/path` to read and execute, `w/path` to write
too), the program's path, its argv.
It stands alone and stays tiny: it is compiled and run anew for each subprocess. A Python hook between fork and exec
would make the worker fork instead, which is slow with much memory and unsafe with threads.
"""

import ctypes
import os
import resource
import struct
import sys

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SIGKILL, _SIGPIPE, _SIGXFSZ = 9, 13, 25  # the signal module would take a third of the start-up time
_EPERM, _ENOSYS = 1, 38

# Landlock: numbers of its calls, the same on every architecture, and rights by the version that brought them.
_CREATE, _ADD, _RESTRICT, _PATH_BENEATH = 444, 445, 446, 1
_FILE_READ, _FILE_WRITE, _DIR_READ = 0b101, 0b10, 0b1000  # execute and read, write; list
_V1, _REFER, _TRUNCATE, _IOCTL_DEV = (1 << 13) - 1, 1 << 13, 1 << 14, 1 << 15
_SPECIAL = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12  # devices, sockets, pipes and links: nobody makes them
_TCP, _SCOPED = 0b11, 0b11  # bind and connect; abstract sockets and signals

# seccomp: architecture by machine, then the calls that are refused, there and here: sockets, io_uring, other processes,
# namespaces and mounts, and parts of the kernel that no encoder needs.
_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
_REFUSED = (
    (41, 198), (53, 199), (42, 203), (49, 200), (50, 201), (43, 202), (288, 242), (44, 206), (46, 211), (307, 269),
    (425, 425), (426, 426), (427, 427), (101, 117), (310, 270), (311, 271), (312, 272), (424, 424), (434, 434), (438, 438),
    (272, 97), (308, 268), (165, 40), (166, 39), (155, 41), (428, 428), (429, 429), (430, 430), (431, 431), (432, 432),
    (433, 433), (442, 442), (321, 280), (323, 282), (298, 241), (248, 217), (249, 218), (250, 219), (304, 265), (303, 264),
    (246, 104), (175, 105), (313, 273), (176, 106), (167, 224), (169, 142),
)  # fmt: skip
_CLONE, _CLONE3 = (56, 220), 435
_NAMESPACES = 0x7E020000  # flags of clone
_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def main(parent: int, faults: int, limits: str, confined: str, paths: list[str], program: str, argv: list[str]) -> None:
    """Prepare this process and replace it by the program; say on `faults` why it could not."""
    try:
        os.set_inheritable(faults, False)
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            _prctl(libc, _PR_SET_PDEATHSIG, _SIGKILL)
            _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)  # a set-user-id program would undo the line before
            _offer_itself()
        if os.getppid() != parent:  # it died before it could take this process along
            os._exit(127)
        for ignored_by_python in (_SIGPIPE, _SIGXFSZ):
            libc.signal(ignored_by_python, None)
        for limit in limits.split(","):
            _limit(*(int(part) for part in limit.split(":")))
        landlock, _, seccomp = confined.partition(":")
        if landlock != "0":
            _confine_files(libc, int(landlock), paths)
        if seccomp == "1":
            _confine_calls(libc)
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
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    os.write(score, b"1000")
    os.close(score)


def _limit(name: int, value: int) -> None:
    hard = resource.getrlimit(name)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(name, (value, value))


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
            path = os.open(entry[1:], os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rights = _FILE_READ | (known & (_FILE_WRITE | _TRUNCATE) if entry[0] == "w" else 0)
        if os.fstat(path).st_mode & 0o170000 == 0o040000:
            rights |= known & ~_SPECIAL & ~_IOCTL_DEV if entry[0] == "w" else _DIR_READ
        _call(libc, _ADD, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights & known, path), 0)
        os.close(path)
    _call(libc, _RESTRICT, ruleset, 0)
    os.close(ruleset)


def _confine_calls(libc: ctypes.CDLL) -> None:
    """Refuse system calls by a filter that holds for all that follows."""
    program = call_filter(os.uname().machine)
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in program))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    _prctl(libc, _PR_SET_SECCOMP, 2, ctypes.addressof(header))


def call_filter(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter as a program of BPF: (operation, steps to skip where it is so, and where not, operand)."""
    architecture, column = _ARCHITECTURES[machine]
    refuse, unknown = _ERRNO | _EPERM, _ERRNO | _ENOSYS
    program = [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, refuse), (_LOAD, 0, 0, 0)]
    program += [(_AT_LEAST, 0, 1, 0x40000000), (_RETURN, 0, 0, refuse)]  # the other way to call of x86
    program += [
        (_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, unknown),
    ]  # whose flags no filter sees: clone is called instead
    for numbers in _REFUSED:
        program += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, refuse)]
    program += [(_EQUAL, 1, 0, _CLONE[column]), (_RETURN, 0, 0, _ALLOW)]
    program += [(_LOAD, 0, 0, 16), (_ANY_OF, 0, 1, _NAMESPACES), (_RETURN, 0, 0, refuse), (_RETURN, 0, 0, _ALLOW)]
    return program


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
