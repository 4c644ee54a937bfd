"""What processes take, from /proc: of a program with its children, and of a server that listens on a port."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_LISTENS = "0A"


def cpu_s(root: int) -> float:
    """CPU seconds of a process and all below it, those that have ended and were waited for too."""
    total = 0
    for pid in tree(root):
        with suppress(FileNotFoundError, ProcessLookupError):
            fields = _stat(pid)
            total += sum(int(field) for field in fields[11:15])  # utime, stime, and those of children waited for
    return total / _TICKS


def peak_mb(root: int) -> float:
    """The greatest resident memory that each process of a tree ever had, together, in MB."""
    total = 0
    for pid in tree(root):
        with suppress(FileNotFoundError, ProcessLookupError):
            found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
            total += int(found[1]) if found else 0
    return total / 1024


def resident_mb(pid: int) -> float:
    """What a process holds in memory now, in MB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))
    return int(found[1]) / 1024 if found else 0.0


def tree(root: int) -> Iterator[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    todo = [root]
    while todo:
        pid = todo.pop()
        todo.extend(children.get(pid, ()))
        yield pid


def only_child() -> int:
    """The one child of this process, such as the engine that it started."""
    [child] = (pid for pid in tree(os.getpid()) if int(_stat(pid)[1]) == os.getpid())
    return child


def listener(port: int) -> int | None:
    """The process of this machine that listens on a port, the topmost where several share it; None where there is none
    that can be seen."""
    inodes = {
        f"socket:[{fields[9]}]"
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        if (fields := line.split())[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port
    }
    found = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and _has(entry, inodes)]
    return min(found, default=None)


def _has(process: Path, inodes: set[str]) -> bool:
    with suppress(OSError):
        return any(str(file.readlink()) in inodes for file in (process / "fd").iterdir())
    return False


def _stat(pid: int) -> list[str]:
    """The fields of `stat` from the state on."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
