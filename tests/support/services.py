"""Tests that need something outside of the project: a broker, a database, a browser."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

_END_S = 60
MISSING = "missing service"


def require_service(name: str, reason: str | None) -> None:
    """Skip the test because `reason` says why the service cannot be used; None is that it can.

    With CI=true such a skip is a failure.
    """
    if reason is not None:
        pytest.skip(f"{MISSING}: {name}: {reason}")


def spawn_apart(argv: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None) -> int:
    """Start a program in a session of its own, its words in `folder/output`. It is no child of the tests: some of them
    count theirs."""
    command = ["/bin/sh", "-c", 'setsid "$0" "$@" >>output 2>&1 </dev/null & echo $!', *argv]
    done = subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.PIPE, check=True)
    return int(done.stdout)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked after does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def end_session(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal a session and wait for the end of its leader."""
    with suppress(ProcessLookupError):
        os.killpg(pid, number)
    deadline = time.monotonic() + _END_S
    while is_alive(pid):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the process {pid} does not end")
        time.sleep(0.05)
