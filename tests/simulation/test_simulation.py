"""The whole engine under faults by chance: whatever happens, the promises hold in the end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import pytest

from taskengine.app import Engine, engine
from taskengine.brokers import open_broker
from taskengine.clock import SystemClock
from taskengine.domain.errors import Conflict, InternalFault, StoreUnavailable
from taskengine.domain.messages import WorkerInfo
from taskengine.domain.status import JobState, TaskState
from taskengine.engine import dispatcher, scheduler, supervisor
from taskengine.engine.submissions import Submission
from taskengine.engine.worker import Worker
from taskengine.ports import Broker, Clock, Store, TaskContext
from taskengine.stores import open_store
from tests.support.engine import ADMIN, settings_for, write_workflows
from tests.support.faults import Chance, FaultyBroker, FaultyStore
from tests.support.pool import Made, facilities
from tests.support.vault import VAULT

SLOTS = 4
JOBS = 40
STORM_S = 1.5
WORKFLOWS = {
    "chain": "steps:\n  a: {handler: debug.noop}\n  b: {handler: debug.noop, needs: [a]}\n  c: {handler: debug.noop, needs: [b]}\n",
    "fan": """
        steps:
          list: {handler: debug.noop, with: {items: [1, 2, 3]}}
          each: {handler: debug.noop, needs: [list], foreach: "${{ steps.list.outputs.items }}", with: {n: "${{ item }}"}}
          join: {handler: debug.noop, needs: [each]}
    """,
    "diamond": """
        steps:
          top: {handler: debug.noop}
          left: {handler: debug.noop, needs: [top], optional: true}
          right: {handler: debug.noop, needs: [top]}
          bottom: {handler: debug.noop, needs: [left, right]}
        on_failure:
          tidy: {handler: debug.noop}
          after: {handler: debug.noop, needs: [tidy]}
    """,
}
NEEDS = {
    "b": ["a"], "c": ["b"], "each": ["list"], "join": ["each"], "left": ["top"], "right": ["top"],
    "bottom": ["left", "right"], "after": ["tidy"],
}  # fmt: skip


class World:
    """An engine in a storm, with the workers that come and go."""

    def __init__(self, running: Engine, chance: Chance, scratch: Path) -> None:
        self.engine, self.chance, self._scratch = running, chance, scratch
        self.store = cast(FaultyStore, running.store)
        self.jobs: list[int] = []
        self._names = itertools.count(1)

    async def insist(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """Call until the store answers, as a client does."""
        while True:
            try:
                return await call()
            except StoreUnavailable:
                await asyncio.sleep(0.01)

    async def submit(self) -> None:
        """Submit every job, once each by its key."""
        for number in range(JOBS):
            name = self.chance.dice.choice(sorted(WORKFLOWS))
            after = [self.chance.dice.choice(self.jobs)] if self.jobs and self.chance.dice.random() < 0.1 else []
            submission = Submission(
                "demo",
                name,
                {"rest_endpoints": ["http://127.0.0.1:1/one", "http://127.0.0.1:1/two"]},
                idempotency_key=str(number),
                after=after,
                max_retries=self.chance.dice.choice([0, 1, 5]),
                timeout_s=self.chance.dice.choice([None, None, 1.0]),
            )
            answer = await self.insist(partial(self.engine.jobs.submit, submission))
            self.jobs.append(int(answer["id"]))
            await asyncio.sleep(0.01)

    async def meddle(self) -> None:
        """Pause, resume and break jobs by hand."""
        while True:
            await asyncio.sleep(0.02)
            if self.jobs:
                state = self.chance.dice.choice(["paused", "queued", "paused", "queued", "broken"])
                await self.change(self.chance.dice.choice(self.jobs), state)

    async def change(self, job_id: int, state: str) -> None:
        """Change a job, where it can be."""
        try:
            await self.insist(lambda: self.engine.jobs.update(ADMIN, job_id, {"queue_state": state}))
        except Conflict:
            return

    async def work(self) -> None:
        """A worker that vanishes without a word now and then, and comes back as another."""
        while True:
            info = WorkerInfo(f"worker-{next(self._names)}", "one", queues={"work": 3})
            handlers = {"debug.noop": Made("debug.noop", self.handle)}
            worker = Worker(
                info, self.engine.broker, handlers, facilities(self._scratch), SystemClock(), VAULT,
                heartbeat_s=0.2, drain_grace_s=0, early_ack_s=0.05,
            )  # fmt: skip
            life = None if self.chance.calm else 0.3 + self.chance.dice.random()
            try:
                async with asyncio.timeout(life):
                    await worker.run()
            except TimeoutError:
                continue

    async def handle(self, context: TaskContext) -> dict[str, Any]:
        """Take a moment; fail or exit by chance."""
        await asyncio.sleep(self.chance.dice.choice([0, 0, 0.01, 0.04, 0.1]))
        if self.chance.hits(0.05):
            raise InternalFault("by chance")
        if self.chance.hits(0.02):
            raise SystemExit(1)
        return {**context.inputs, "token": context.task.token}

    async def all_end(self) -> None:
        """Wait until no job is left, resuming what is paused."""
        while True:
            self.store.changed.clear()
            jobs = [(await self.engine.views.view(ADMIN, job_id)).job for job_id in self.jobs]
            if all(job.ended for job in jobs):
                return
            for job in jobs:
                if job.state is JobState.PAUSED:
                    await self.change(job.id, "queued")
            await self.store.changed.wait()


@asynccontextmanager
async def storm(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """An engine whose store and broker fail by chance."""
    chance = Chance(seed)

    @asynccontextmanager
    async def faulty_store(url: str, clock: Clock, *_: object) -> AsyncIterator[Store]:
        async with open_store(url, clock) as store:
            yield cast(Store, FaultyStore(store, chance))

    @asynccontextmanager
    async def faulty_broker(url: str) -> AsyncIterator[Broker]:
        async with open_broker(url) as broker:
            yield FaultyBroker(broker, chance)

    composition = import_module("taskengine.app.engine")  # the package's name for it is that of the function
    monkeypatch.setattr(composition, "open_store", faulty_store)
    monkeypatch.setattr(composition, "open_broker", faulty_broker)
    monkeypatch.setattr(supervisor, "_LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(scheduler, "SWEEP_S", 0.3)
    monkeypatch.setattr(dispatcher, "SWEEP_S", 0.3)
    monkeypatch.setattr(dispatcher, "_SWEEP_MS", 300)
    monkeypatch.setattr("taskengine.engine.reaper._PUBLISH_GRACE_S", 0.5)
    settings = settings_for(tmp_path, heartbeat_s=0.2, **{"engine.max_jobs": SLOTS})
    write_workflows(tmp_path / "workflows", WORKFLOWS)
    async with engine(settings, http=False, workers=False) as running:
        yield World(running, chance, tmp_path / "scratch")


async def hold_to_the_promises(world: World) -> None:
    """Every job and task has ended once, in its order, within the slots, and all of it was told."""
    assert world.store.most_started <= SLOTS
    assert len(set(world.jobs)) == JOBS
    counted = {"completed": 0, "broken": 0, "failed": 0}
    for job_id in world.jobs:
        job = (await world.engine.views.view(ADMIN, job_id)).job
        counted[job.state.value] += 1
        counted["failed"] += job.failed and job.state is JobState.COMPLETED
        tasks = await world.engine.views.tasks(ADMIN, job_id)
        ended_at: dict[str, int] = {}
        for stored in tasks:
            task = stored.task
            assert task.ended, (job_id, task.step, task.state)
            outcomes = [attempt["outcome"] for attempt in stored.attempts]
            assert outcomes.count("completed") == (task.state is TaskState.COMPLETED), (job_id, task.step, outcomes)
            ended_at[task.step] = max(ended_at.get(task.step, 0), task.ended_at or 0)
        for stored in tasks:
            if stored.task.started_at is not None:
                needs = NEEDS.get(stored.task.step, [])
                assert all(ended_at[need] <= stored.task.started_at for need in needs), (job_id, stored.task.step)
        if not job.failed:
            assert {stored.task.state for stored in tasks} <= {TaskState.COMPLETED, TaskState.FAILED}
            assert all(t.task.state is TaskState.COMPLETED or t.task.step == "left" for t in tasks)
        await _told(world, job_id, {stored.task.id or 0: stored.task.started_at is not None for stored in tasks})
    health = await world.engine.store.health()
    assert {name: health.jobs[name] for name in counted} == counted
    assert health.tasks["pending"] == 0
    assert all(queue["working"] == 0 for queue in health.queues.values())


async def _told(world: World, job_id: int, began: dict[int, bool]) -> None:
    """The callbacks to each endpoint: start, then one end, for each task that began; the job's own is the last."""
    rows = await world.engine.store.callbacks(job_id)
    for endpoint in ("http://127.0.0.1:1/one", "http://127.0.0.1:1/two"):
        told = [(row["task_id"], row["event"]) for row in rows if row["endpoint"] == endpoint]
        assert [event for _, event in told].count("job") == 1, (job_id, told)
        assert told[-1][1] == "job", (job_id, told)
        for task_id, has_begun in began.items():
            events = [event for other, event in told if other == task_id]
            expected = [["start", "complete"], ["start", "fail"]] if has_begun else [[], ["fail"]]
            assert events in expected, (job_id, task_id, events)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_promises_hold_in_a_storm(tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vanishing workers, a store and a broker that fail, and a hand that pauses, resumes and breaks."""
    print(f"seed {seed}")  # the test's name repeats it; the moments, unlike the dice, are the machine's
    async with storm(tmp_path, seed, monkeypatch) as world, asyncio.TaskGroup() as group:
        workers = [group.create_task(world.work()) for _ in range(3)]
        world.chance.calm = False
        meddling = group.create_task(world.meddle())
        await world.submit()
        await asyncio.sleep(STORM_S)
        meddling.cancel()
        world.chance.calm = True
        async with asyncio.timeout(20):
            await world.all_end()
        await hold_to_the_promises(world)
        for worker in workers:
            worker.cancel()
