"""The query parameters of lists. A bad value is a fault; a parameter that is not known is passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web

from taskengine.api.body import MAX_INTEGER, pointer, text_fault
from taskengine.api.faults import invalid
from taskengine.api.fields import time, whole
from taskengine.api.published import ENDED_AND_FAILED, read_severity, read_state
from taskengine.domain.errors import Fault
from taskengine.domain.status import JobState
from taskengine.domain.words import nearest
from taskengine.ports import JobFilter

DEFAULT_LIMIT, MAX_LIMIT = 10, 1000
MAX_LOGS = 10_000
MAX_IDS = 1000
ORDERS = ("id", "created_at", "updated_at", "run_at", "priority")
_LONGEST = 1000

Value = TypeVar("Value")


class Query:
    """Reads parameters one by one and gathers their faults."""

    def __init__(self, given: Iterable[tuple[str, str]], at: str = "?") -> None:
        self._given: dict[str, str] = {}
        self._faults: list[Fault] = []
        self._at = at  # what comes before a name in the path of its fault
        for name, value in given:
            if fault := text_fault(name) or text_fault(value):
                self._faults.append(Fault(f"{at}{name.encode('utf-8', 'replace').decode()[:100]}", fault))
            elif name in self._given:
                self._faults.append(Fault(f"{at}{name[:100]}", "is given more than once"))
            else:
                self._given[name] = value

    def read(self, name: str, reader: Callable[[str], Value]) -> Value | None:
        """A parameter's value; None where it is not given, or wrong."""
        text = self._given.get(name)
        if text is None:
            return None
        try:
            if len(text) > _LONGEST and name != "job_ids":
                raise ValueError(f"must have at most {_LONGEST} characters")
            return reader(text)
        except ValueError as error:
            self._faults.append(Fault(f"{self._at}{name}", str(error)))
            return None

    def check(self) -> None:
        """InvalidRequest where anything was wrong."""
        if self._faults:
            raise invalid(*self._faults)


def read_flag(text: str) -> bool:
    """0, 1, true and false."""
    flags = {"0": False, "1": True, "false": False, "true": True}
    if text.strip().lower() not in flags:
        raise ValueError("must be 0 or 1")
    return flags[text.strip().lower()]


def read_limit(most: int) -> Callable[[str], int]:
    """A reader of page sizes: what is more than `most` is cut to it."""

    def read(text: str) -> int:
        text = text.strip()
        if not (text.isascii() and text.isdigit()) or not text.strip("0"):
            raise ValueError("must be a whole number, at least 1")
        return int(text) if len(text.lstrip("0")) < 10 and int(text) < most else most

    return read


def read_ids(text: str) -> list[int]:
    """Ids with commas between."""
    ids = [whole(0, MAX_INTEGER)(part) for part in text.split(",")]
    if len(ids) > MAX_IDS:
        raise ValueError(f"must have at most {MAX_IDS} ids")
    return ids


def read_time(text: str) -> int:
    """A time; the `+` of a zone that came unquoted, and so as a space, is put back."""
    date, space, zone = text.strip().rpartition(" ")
    return time(f"{date}+{zone}" if space and "T" in date.upper() and zone[:2].isdigit() else text)


def _order(text: str) -> str:
    if text not in ORDERS:
        raise ValueError(f"must be one of {', '.join(ORDERS)}")
    return text


def _state(text: str) -> tuple[JobState, bool]:
    """(the state, whether failed ones alone are asked for)."""
    if text.strip().lower() in {str(ENDED_AND_FAILED), "failed"}:
        return JobState.COMPLETED, True
    state = read_state(text)
    if state is None:
        raise ValueError("must be the number (0 to 7) or the name of a state")
    return state, False


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


@dataclass(frozen=True, slots=True)
class JobsQuery:
    """What `GET /jobs` asks for. `nothing`: no job can be the answer."""

    filter: JobFilter
    client: str | None
    nothing: bool


FILTERS = (
    "client", "failed", "from", "job_ids", "persist", "priority", "search", "state", "tag", "to", "workflow"
)  # fmt: skip


def read_jobs_query(request: web.Request) -> JobsQuery:
    """Judge all of it."""
    return _jobs_query(Query(request.query.items()))


def read_filter(given: Mapping[str, Any]) -> JobsQuery:
    """The conditions of `GET /jobs` as the fields of a JSON object: numbers, flags and lists as well as texts."""
    faults = [
        Fault(pointer("/filter", name), f"unknown field {name[:100]!r}{nearest(name[:100], FILTERS)}")
        for name in given
        if name not in FILTERS
    ]
    known = {name: value for name, value in given.items() if name in FILTERS and value is not None}
    if not known:
        faults.append(Fault("/filter", f"must have a condition: one of {', '.join(FILTERS)}"))
    if faults:
        raise invalid(*faults)
    return _jobs_query(Query(((name, _as_text(value)) for name, value in known.items()), "/filter/"))


def _as_text(value: Any) -> str:
    """As it would stand in a query."""
    if isinstance(value, list):
        return ",".join(_as_text(part) for part in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _jobs_query(query: Query) -> JobsQuery:
    state = query.read("state", _state)
    failed = query.read("failed", read_flag)
    client = query.read("client", _not_empty)
    read: dict[str, Any] = {
        "created_from": query.read("from", read_time),
        "created_to": query.read("to", read_time),
        "search": query.read("search", str) or None,
        "job_ids": query.read("job_ids", read_ids),
        "persist": query.read("persist", read_flag),
        "workflow": query.read("workflow", _not_empty),
        "priority": query.read("priority", whole(1, 10)),
        "tag": query.read("tag", _not_empty),
        "after_id": query.read("after_id", whole(0, MAX_INTEGER)),
        "order_by": query.read("order_by", _order) or "id",
        "ascending": query.read("asc", read_flag) or False,
        "limit": query.read("limit", read_limit(MAX_LIMIT)) or DEFAULT_LIMIT,
    }
    query.check()
    ended_and_failed = state is not None and state[1]
    found = JobFilter(states=None if state is None else [state[0]], failed=True if ended_and_failed else failed, **read)
    nothing = failed is not None and state is not None and (state[0] is not JobState.COMPLETED or ended_and_failed)
    return JobsQuery(found, client, nothing)


def read_logs_query(request: web.Request) -> tuple[int, Mapping[str, Any]]:
    """(the size of a page, the conditions of `JobStore.logs`)."""
    query = Query(request.query.items())
    limit = query.read("limit", read_limit(MAX_LOGS)) or MAX_LOGS
    conditions = {
        "show_all": query.read("show_all", read_flag) or False,
        "severity": query.read("severity", _severity),
        "task_id": query.read("task_id", whole(0, MAX_INTEGER)),
        "after_id": query.read("after_id", whole(0, MAX_INTEGER)) or 0,
    }
    query.check()
    return limit, conditions


def _severity(text: str) -> int:
    severity = read_severity(text)
    if severity is None:
        raise ValueError("must be the number (0 to 4) or the name of a severity")
    return severity


def read_all(request: web.Request) -> bool:
    """The flag `all` of a list."""
    query = Query(request.query.items())
    every = query.read("all", read_flag) or False
    query.check()
    return every


def read_page(request: web.Request) -> int:
    """The `limit` of a page alone."""
    query = Query(request.query.items())
    limit = query.read("limit", read_limit(MAX_LIMIT)) or MAX_LIMIT
    query.check()
    return limit
