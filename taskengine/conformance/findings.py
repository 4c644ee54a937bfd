"""What came of a check."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Of a check."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """A check, what came of it, and why."""

    check: str
    state: State
    detail: str = ""


class Broken(Exception):
    """The worker broke a rule; the message says which, and what was seen."""
