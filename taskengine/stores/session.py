"""What a unit of work gets in its hands, whatever the database: statements by name, inside one transaction.

Units are coroutines, so that one text serves both kinds of driver: PostgreSQL's waits for its connection, SQLite's never
waits and is driven to its end by the thread that it runs in.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from taskengine.domain.job import Snapshot
from taskengine.stores.rows import Row

T = TypeVar("T")
Parameters = Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of a queue, believed to be free: no ready task waits in it, and at most `under_way` are on their way."""

    queue: str
    under_way: int
    most: int  # that may be, with what is handed out now

    @property
    def parameters(self) -> Mapping[str, Any]:
        """What the statement `waiting_heads` is asked with."""
        return {"queue": self.queue, "counter": f"queue:{self.queue}", "most": self.most}


SeenJob = tuple[int, str, int, int]  # id, state, when it was updated last, how many events it had
SeenTask = tuple[int, str, str | None, int]  # id, state, token, attempt


@dataclass(slots=True)
class Seen:
    """What a decision was made of that held nothing: it holds if that is still so as it is written."""

    known: Mapping[int, Snapshot] = field(default_factory=dict)  # by job: what need not be read
    snapshots: list[Snapshot] = field(default_factory=list)
    jobs: list[SeenJob] = field(default_factory=list)
    tasks: list[SeenTask] = field(default_factory=list)  # those that have not ended

    def take_known(self) -> Mapping[int, Snapshot]:
        """What is known, for one decision: it changes what it is given, and is made again where a connection is lost."""
        known, self.known = self.known, {}
        return known

    def add(self, snapshot: Snapshot) -> None:
        """A job with its tasks, before anything is decided."""
        job = snapshot.job
        self.snapshots.append(snapshot)
        self.jobs.append((job.id, job.state.value, job.updated_at, job.seq))
        self.tasks += [
            (task.id or 0, task.state.value, task.token, task.attempt) for task in snapshot.tasks if not task.ended
        ]


class Overtaken(Exception):
    """Something was not as it was believed or seen: nothing was written, and what was to be is to be done under its locks."""


class Session(Protocol):
    """Statements by name, inside a transaction."""

    async def all(self, name: str, parameters: Parameters = ()) -> list[Row]:
        """Every row of a statement."""
        ...

    async def one(self, name: str, parameters: Parameters = ()) -> Row | None:
        """The first row of a statement."""
        ...

    async def value(self, name: str, parameters: Parameters = ()) -> Any:
        """The first column of the first row; None where there is none."""
        ...

    async def run(self, name: str, parameters: Parameters = ()) -> int:
        """Execute a statement; how many rows it changed."""
        ...

    async def many(self, name: str, rows: Iterable[Sequence[Any]]) -> int:
        """Execute a statement for each of the rows; how many rows were changed."""
        ...

    async def returned(self, name: str, rows: Sequence[Row]) -> list[Row]:
        """Execute a statement for each of the rows; every row that it returns."""
        ...

    async def many_apart(
        self, parts: Sequence[tuple[str, Sequence[Row]]], turn: Turn | None = None, seen: Seen | None = None
    ) -> list[int]:
        """Several statements, each for its own rows, none of which reads what another writes: they may go in one piece.
        How many rows each changed. With a turn, its queue is locked first; Overtaken where the belief was wrong. What was
        `seen` is judged where the session does not hold it."""
        ...

    async def select(self, statement: str, parameters: Parameters) -> list[Row]:
        """Every row of a statement that was put together from named parts."""
        ...

    def part(self, name: str) -> str:
        """A named part of a statement."""
        ...

    def array(self, values: Iterable[Any]) -> Any:
        """Several values as one parameter."""
        ...

    async def all_of(self, parts: Sequence[tuple[str, Sequence[Any]]]) -> list[list[Row]]:
        """Every row of each of several statements: they may go in one piece."""
        ...

    async def hold(self, job_ids: Iterable[int]) -> None:
        """Hold these jobs to the end of the transaction: nobody else writes anything that belongs to them."""
        ...

    async def lock(self, name: str) -> None:
        """Hold this lock, whoever else has a session on this database, to the end of the transaction."""
        ...

    async def take(self, counts: Mapping[str, int]) -> Mapping[str, Sequence[int]]:
        """So many of each sequence: ids that were never given before, also where this transaction does not come to be."""
        ...


Work = Callable[[Session], Coroutine[Any, Any, T]]
