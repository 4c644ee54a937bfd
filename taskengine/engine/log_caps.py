"""How much a task may write into its job's log: a handler in a loop must not fill the database."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taskengine.domain.messages import Report

MAX_ENTRIES = 2_000
MAX_CHARS = 1024 * 1024
_REMEMBERED = 10_000  # tasks that wrote last; each engine counts what it takes itself
FULL = "the log of this task is full: what else it writes is left out"


@dataclass(slots=True)
class _Room:
    entries: int
    chars: int
    full: bool = False  # and its log says so


class LogCaps:
    """Cuts the entries of reports to what their tasks may still write; all attempts of a task count."""

    def __init__(self, entries: int = MAX_ENTRIES, chars: int = MAX_CHARS) -> None:
        self._entries, self._chars = entries, chars
        self._rooms: OrderedDict[int, _Room] = OrderedDict()

    def cut(self, report: Report) -> Report | None:
        """The report with the entries that there is room for, the last of which says that the log is full; None where it
        was full before."""
        room = self._room(report.task_id)
        entries: Sequence[Any] = report.details["entries"]
        kept = list(entries[: room.entries])
        for number, entry in enumerate(kept):
            room.chars -= len(str(entry.get("message", ""))) if isinstance(entry, Mapping) else 0
            if room.chars < 0:
                del kept[number:]
                break
        if len(kept) == len(entries):
            room.entries -= len(kept)
            return report
        if room.full:
            return None
        room.entries, room.full = 0, True
        said = {"severity": 2, "message": FULL, "at": report.at}
        return replace(report, details={**report.details, "entries": [*kept, said]})

    def _room(self, task_id: int) -> _Room:
        room = self._rooms.setdefault(task_id, _Room(self._entries, self._chars))
        self._rooms.move_to_end(task_id)
        if len(self._rooms) > _REMEMBERED:
            self._rooms.popitem(last=False)
        return room
