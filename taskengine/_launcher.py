"""Become a program that dies with its parent, within resource limits. Run as `python -I -S`; see `process`.

Arguments: the parent's process id, a descriptor for faults, limits (`resource:value,…`), the program's path, its argv.
It stands alone and stays tiny: it is compiled and run anew for each subprocess. A Python hook between fork and exec
would make the worker fork instead, which is slow with much memory and unsafe with threads.
"""

import ctypes
import os
import resource
import sys

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIGKILL, _SIGPIPE, _SIGXFSZ = 9, 13, 25  # the signal module would take a third of the start-up time


def main(parent: int, faults: int, limits: str, program: str, argv: list[str]) -> None:
    """Prepare this process and replace it by the program; say on `faults` why it could not."""
    try:
        os.set_inheritable(faults, False)
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            _prctl(libc, _PR_SET_PDEATHSIG, _SIGKILL)
            _prctl(libc, _PR_SET_NO_NEW_PRIVS, 1)  # a set-user-id program would undo the line before
        if os.getppid() != parent:  # it died before it could take this process along
            os._exit(127)
        for ignored_by_python in (_SIGPIPE, _SIGXFSZ):
            libc.signal(ignored_by_python, None)
        for limit in limits.split(","):
            _limit(*(int(part) for part in limit.split(":")))
        os.execv(program, argv)  # noqa: S606 - no shell is what is wanted
    except (OSError, ValueError, AttributeError) as error:
        os.write(faults, (getattr(error, "strerror", None) or repr(error)).encode())
    os._exit(127)


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero):
        raise OSError(ctypes.get_errno(), "prctl failed")


def _limit(name: int, value: int) -> None:
    hard = resource.getrlimit(name)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(name, (value, value))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5:])
