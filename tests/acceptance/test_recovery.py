"""What goes on after the end, or the absence, of an engine or a worker; and messages that come again, late, disordered."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from scripts.soaks.recovery import after_engines, after_workers
from scripts.soaks.servers import Servers
from taskengine.media.tools import find_tools
from tests.support.cluster import Cluster
from tests.support.oracle import processes_of
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitServer

WAIT_S = 60


@pytest.fixture
def servers(tmp_path: Path, postgres: PostgresServer, rabbitmq: RabbitServer) -> Servers:
    """The private servers of the session."""
    return Servers(tmp_path, postgres, rabbitmq)


async def test_work_goes_on_soon_after_a_worker_and_an_engine_are_killed(servers: Servers) -> None:
    """The short form of `scripts/soak recovery`, with leases of a second. Without a look at what the dead engine left,
    it would be ten seconds; the limits leave room for a machine that is busy."""
    chance = random.Random(5)
    async with servers.cluster(engines=2, workers=2) as running:
        waits = await after_workers(running, rounds=1, chance=chance, nap_s=5)
        stalls = await after_engines(running, rounds=1, chance=chance)
        assert waits
        assert max(waits) < 8, waits
        assert max(stalls) < 8, stalls
        await running.finished(WAIT_S)
        await running.ends_well()


async def test_a_worker_that_was_stopped_beyond_its_lease_can_do_no_harm(servers: Servers) -> None:
    """SIGSTOP: its tasks run elsewhere. SIGCONT: the result that it has by then is refused, the ffmpeg that still runs is
    ended, and it works on."""
    unguarded = {"TASKENGINE_DEBUG_SHELL": "true", "TASKENGINE_SANDBOX__MODE": "off"}  # its command writes elsewhere
    async with servers.cluster(engines=1, workers=1, **unguarded) as running:
        [stopped] = running.workers
        jobs = [await running.submit("shell", films(running, f"film{seconds}", seconds)) for seconds in (2, 300)]
        await until(lambda: all(films_of(running, f"film{seconds}") for seconds in (2, 300)))
        stopped.pause()
        await running.worker().start()
        await running.finished(WAIT_S)
        await until(lambda: not films_of(running, "film2"))  # its worker would have a result to tell
        assert films_of(running, "film300")
        stopped.resume()
        await until(lambda: not films_of(running, "film300"))
        facts = await running.facts()
        for job_id in jobs:
            [task] = facts.of_job(facts.tasks, job_id)
            outcomes = [attempt["outcome"] for attempt in facts.attempts if attempt["task_id"] == task["id"]]
            # What it had fetched before it was stopped is taken back from it without a start.
            assert [outcome for outcome in outcomes if outcome != "released"] == ["lost", "completed"]
        await running.workers[1].stop()
        await running.submit(x=0)  # the one that was stopped takes it
        await running.finished(WAIT_S)
        assert "attempt_withdrawn" in (running.root / f"{stopped.name}.log").read_text()
        await running.ends_well()


def films(running: Cluster, name: str, seconds: int) -> str:
    """A command that encodes at the speed of the film when it is run first, and then has nothing to do."""
    flag = running.root / name
    return (
        f"test -e {flag} && exit 0; touch {flag}; exec {find_tools().ffmpeg} -v error -nostdin -re -f lavfi "
        f"-i testsrc=size=64x64:rate=5:duration={seconds} -metadata comment={name} -f null -"
    )


def films_of(running: Cluster, name: str) -> list[str]:
    """The encoders of it."""
    return [found for found in processes_of(running.mark) if f"comment={name} " in found and "/sh -c" not in found]


async def until(condition: object) -> None:
    """Wait until something is so."""
    assert callable(condition)
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - it is other processes
            await asyncio.sleep(0.1)


async def test_messages_that_come_three_times_late_and_disordered_have_no_effect(servers: Servers) -> None:
    """Of tasks, reports and whatever else: every copy has a time of its own. Nothing happens twice, nothing too early."""
    async with servers.cluster(engines=0, workers=0, max_jobs=4) as running:
        running.module = "tests.support.thrice"
        for process in (running.engine(), running.engine(), running.worker(), running.worker()):
            await process.start()
        work = [("five", 0), ("fan", 0), ("fails", 0), ("flaky", 2)] * 3
        await asyncio.gather(*(running.submit(name, x) for name, x in work))
        await running.finished(WAIT_S)
        await asyncio.sleep(1)  # the last copies are out by then
        await running.ends_well(callbacks_once=True)
