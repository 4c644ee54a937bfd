"""The oracle itself: a real run is good, and each forged violation of the promises is found."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.engine import ADMIN, bench, settings_for
from tests.support.oracle import Facts, gather, judge, left_behind
from tests.support.receiver import CallbackReceiver, Received


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Facts]:
    """The database of a few jobs that ended well, one of them failed and one rerun, and its facts."""
    return asyncio.run(_run(tmp_path_factory.mktemp("oracle")))


async def _run(root: Path) -> tuple[Path, Facts]:
    async with CallbackReceiver() as receiver:
        settings = settings_for(root, **{"engine.max_jobs": 2, "bus.events": True})
        async with bench(settings, receiver) as world:
            jobs = [await world.submit(name, 1) for name in ("chain", "flaky", "fails", "fan")]
            for job_id in jobs:
                await world.ended(job_id)
            answer = await world.engine.jobs.rerun(ADMIN, jobs[0])
            jobs.append(int(answer["id"]))
            await world.ended(jobs[-1])
        database = root / "data/taskengine.db"
        return database, await gather(f"sqlite:///{database}", accepted=jobs, received=receiver.received)


def test_a_run_that_ended_well_is_good(run: tuple[Path, Facts]) -> None:
    """Nothing is found where nothing is wrong, tries, failures and reruns included."""
    assert judge(run[1], max_jobs=2, callbacks_once=True) == []


FORGED = {
    "a job is lost": ("DELETE FROM jobs WHERE id = 1", "accepted and is not in the store"),
    "a job does not end": ("UPDATE jobs SET state = 'started', completed_at = NULL WHERE id = 2", "has not ended"),
    "a job ends twice": (
        (
            "UPDATE events SET name = 'completed' WHERE id = "
            "(SELECT max(id) FROM events WHERE job_id = 2 AND kind = 'job' AND name = 'started')"
        ),
        "ended 2 times",
    ),
    "a job's end changes": ("UPDATE jobs SET failed = 1 WHERE id = 2", "job 2 is failed, and its events end with"),
    "a job goes on after its end": (
        (
            "INSERT INTO events (job_id, client, workflow, kind, name, seq, at, body) "
            "SELECT id, client, workflow, 'job', 'started', seq + 1, 0, '{}' FROM jobs WHERE id = 2"
        ),
        "its events end with ['started']",
    ),
    "a rerun that there is not": ("UPDATE jobs SET rerun_of = NULL", "job 1 ended 2 times"),
    "an event is missing": ("DELETE FROM events WHERE job_id = 2 AND seq = 2", "are numbered"),
    "a task is completed twice": (
        (
            "INSERT INTO attempts SELECT task_id, attempt + 1, token || 'x', worker, ended_at, ended_at, outcome, error, "
            "error_kind, exit_code, process_s FROM attempts WHERE task_id = 1"
        ),
        "2 effective completions",
    ),
    "a completion has no attempt": ("DELETE FROM attempts WHERE task_id = 1", "0 effective completions"),
    "tries overlap": (
        "UPDATE attempts SET started_at = 1 WHERE outcome = 'completed' AND attempt = 2",
        "before attempt 1 was over",
    ),
    "a token is given twice": ("UPDATE attempts SET token = 'same'", "the token same was given"),
    "a completion is told twice": (
        "UPDATE events SET name = 'complete' WHERE task_id = 1 AND name = 'start'",
        "was told complete 2 times",
    ),
    "a task begins before its needs": (
        (
            "UPDATE events SET seq = CASE seq WHEN (SELECT seq FROM events WHERE task_id = 2 AND name = 'start') THEN 0 "
            "ELSE seq END WHERE job_id = 1"
        ),
        "began before a, which it needs",
    ),
    "more jobs than slots": (
        "DELETE FROM events WHERE kind = 'job' AND name IN ('completed', 'failed', 'broken')",
        "jobs were started at one time",
    ),
    "a callback was never written": ("DELETE FROM callbacks WHERE id = 2", "were never written"),
    "a callback was written twice": (
        (
            "INSERT INTO callbacks (job_id, endpoint, lane, event, task_id, webhook_id, body, created_at, waiting_since, "
            "state, attempts, delivered_at) SELECT job_id, endpoint, lane, event, task_id, webhook_id || 'x', body, "
            "created_at, waiting_since, state, attempts, delivered_at FROM callbacks WHERE id = 2"
        ),
        "was written 2 times",
    ),
    "a callback is undelivered": (
        "UPDATE callbacks SET state = 'pending', delivered_at = NULL WHERE id = 2",
        "(complete) of job 1 is pending",
    ),
    "a line stays open": (
        "INSERT INTO callback_lines (job_id, endpoint, lane, due_at) VALUES (1, 'x', 0, 0)",
        "a line of callbacks that is not closed",
    ),
    "a task stays open": ("UPDATE tasks SET state = 'ready', ended_at = NULL WHERE id = 1", "has not ended: ready"),
    "a counter is wrong": ("UPDATE counters SET value = value + 1 WHERE name = 'completed'", "and there are"),
}


@pytest.mark.parametrize("name", FORGED)
async def test_a_forged_violation_in_the_store_is_found(run: tuple[Path, Facts], tmp_path: Path, name: str) -> None:
    """Each sentence of the promises has a check that fails where it is broken."""
    database, facts = run
    forged = tmp_path / "forged.db"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(forged)) as target:
        source.backup(target)
        target.execute(FORGED[name][0])
        target.commit()
    read = await gather(f"sqlite:///{forged}", accepted=facts.accepted, received=facts.received)
    found = judge(read, max_jobs=2)
    assert any(FORGED[name][1] in sentence for sentence in found), found


def _not_heard(received: list[Received]) -> list[Received]:
    return received[1:]


def _twice(received: list[Received]) -> list[Received]:
    return [*received, received[0]]


def _reordered(received: list[Received]) -> list[Received]:
    return received[::-1]


def _invented(received: list[Received]) -> list[Received]:
    return [*received, received[0]._replace(headers={"webhook-id": "msg_other"})]


@pytest.mark.parametrize(
    ("forge", "sentence"),
    [
        (_not_heard, "was never received"),
        (_twice, "was received 2 times"),
        (_reordered, "came out of order"),
        (_invented, "was received and never written"),
    ],
)
def test_a_forged_delivery_is_found(
    run: tuple[Path, Facts], forge: Callable[[list[Received]], list[Received]], sentence: str
) -> None:
    """What endpoints received is judged against what was written."""
    found = judge(replace(run[1], received=forge(list(run[1].received))), max_jobs=2, callbacks_once=True)
    assert any(sentence in one for one in found), found


async def test_what_is_left_behind_is_found(tmp_path: Path) -> None:
    """A process with the run's mark, a file in scratch, a half upload."""
    (tmp_path / "scratch/old").mkdir(parents=True)
    (tmp_path / "storage/.partial-1").mkdir(parents=True)
    process = await asyncio.create_subprocess_exec("sleep", "60", env={"HOME": str(tmp_path)})
    try:
        remains = {
            "mark": str(tmp_path), "empty": [tmp_path / "scratch"], "storages": [tmp_path / "storage"]
        }  # fmt: skip
        found = list(left_behind(**remains))  # type: ignore[arg-type]
    finally:
        process.kill()
        await process.wait()
    assert [sentence.partition(":")[0] for sentence in found] == [
        "a process lives on", "left behind", "a half upload was left"
    ]  # fmt: skip
