"""What confines subprocesses on this machine: their files by Landlock, the network and the kernel by a filter of calls (seccomp).

Here is decided what is there and what a program may see; `_launcher` does it, in the process that becomes the program.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from taskengine.call_filter import call_filter, encoded, known

_CREATE_RULESET, _VERSION = 444, 1
_PR_GET_SECCOMP = 21
_NEWEST = 7  # version of Landlock whose rights the launcher knows
# What a program of the system needs beside itself: the loader and its libraries, devices, and what the processor is.
_READ = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache",
         "/dev/zero", "/dev/random", "/dev/urandom", "/sys/devices/system", "/proc/stat", "/proc/cpuinfo",
         "/proc/meminfo")  # fmt: skip
_WRITE = ("/dev/null",)
_SYSTEM_PROGRAMS = ("/bin", "/sbin", "/usr/bin", "/usr/sbin")  # one of these may start others of them


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What confines. `landlock` is its version, 0 where files are not confined; `seccomp`: whether the network is away."""

    landlock: int = 0
    seccomp: bool = False
    reads: Sequence[Path] = ()  # what programs of this installation may read beside the system's own
    missing: Sequence[str] = ()  # what the machine lacks, and why

    def confined(self, *, children: bool) -> str:
        """As the launcher takes it; `children`: whether the program may start others."""
        return f"{self.landlock}:{_filter(children=children) if self.seccomp else ''}"

    def paths(self, program: str, work: Path) -> list[str]:
        """What a program may see, as the launcher takes it: `r/path` to read and execute, `w/path` to write too."""
        if not self.landlock:
            return []
        of_system = _SYSTEM_PROGRAMS if str(Path(program).parent) in _SYSTEM_PROGRAMS else ()
        readable = [*_READ, *of_system, *map(str, self.reads), program]
        return [*(f"r{path}" for path in readable), *(f"w{path}" for path in (*_WRITE, work))]

    def described(self) -> Mapping[str, str]:
        """What confines subprocesses, for people: `OK`, or what is missing."""
        files = next((text for text in self.missing if text.startswith("files")), "OK")
        network = next((text for text in self.missing if text.startswith("network")), "OK")
        return {"files": files, "network": network}


def find_sandbox(*, reads: Sequence[Path] = ()) -> Sandbox:
    """What this machine offers. Nothing is confined by asking."""
    if platform.system() != "Linux":
        text = f"not confined on {platform.system()}"
        return Sandbox(missing=(f"files: {text}", f"network: {text}"))
    landlock, seccomp = _landlock(), _seccomp()
    missing = []
    if not landlock:
        missing.append(
            "files: not confined: the kernel has no Landlock (Linux 5.13), or it is not enabled or not allowed here"
        )
    if not seccomp:
        missing.append(f"network: not closed: no seccomp filter here for {platform.machine()}")
    return Sandbox(landlock, seccomp, tuple(reads), tuple(missing))


@functools.cache
def _filter(*, children: bool) -> str:
    return encoded(call_filter(platform.machine(), children=children)).hex()


def _landlock() -> int:
    version = ctypes.CDLL(None).syscall(ctypes.c_long(_CREATE_RULESET), None, ctypes.c_long(0), ctypes.c_long(_VERSION))
    return max(0, min(int(version), _NEWEST))


def _seccomp() -> bool:
    """Whether filters can be set: a kernel without them, or a machine whose calls we do not know, has none."""
    zero = ctypes.c_ulong(0)
    return known(platform.machine()) and int(ctypes.CDLL(None).prctl(_PR_GET_SECCOMP, zero, zero, zero, zero)) >= 0
