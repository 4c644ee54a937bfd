"""A process that writes to a store until it is killed, and says what was committed: `python -m … <url>`."""

from __future__ import annotations

import asyncio
import sys
from functools import partial

from taskengine.domain.job import Changes, Snapshot
from taskengine.domain.status import JobState
from taskengine.ports import NewJob, Store
from taskengine.stores import open_store
from tests.support.clock import START, MovedClock
from tests.support.stores import a_job, a_task, an_event, log, move_job


async def write(store: Store) -> None:
    """Submit a job and step it on, for ever; a line `<job> <seq>` for each commit."""
    while True:
        [job_id], _ = await store.allocate(jobs=1)
        changes = Changes(a_job(job_id), new_tasks=[a_task(job_id, "a"), a_task(job_id, "b")], logs=[log("0")])
        await store.submit([NewJob(changes)], START)
        say(job_id, 0)
        for seq in range(1, 4):
            await store.decide([job_id], partial(step, seq=seq))
            say(job_id, seq)


def step(snapshot: Snapshot, seq: int) -> Changes:
    """Move the job, with an event and a log entry of the same number."""
    state = {1: JobState.STARTED, 2: JobState.PAUSED, 3: JobState.BROKEN}[seq]
    changes = move_job(snapshot, state, seq=seq)
    changes.events, changes.logs = [an_event(seq=seq)], [log(str(seq))]
    return changes


def say(job_id: int, seq: int) -> None:
    """Tell whoever holds the other end."""
    sys.stdout.write(f"{job_id} {seq}\n")
    sys.stdout.flush()


async def main(url: str) -> None:
    """Eight writers at once, so that commits are shared."""
    async with open_store(url, MovedClock()) as store, asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(write(store))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
