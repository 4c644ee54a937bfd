"""Leases: what silent workers held is taken back, and what the engine could not hear is not held against them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from taskengine.clock import SystemClock
from taskengine.domain.messages import (
    ControlMessage,
    Report,
    ReportEvent,
    Running,
    TaskMessage,
    WorkerInfo,
    WorkerMessage,
)
from taskengine.engine.effects import Effects
from taskengine.engine.reaper import Hearing, Reaper
from taskengine.engine.rules import Decisions
from taskengine.ports import Address, Broker, JobStore, Message, Outgoing
from tests.support.clock import MovedClock
from tests.support.engine import ADMIN, bench, settings_for
from tests.support.receiver import CallbackReceiver


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """An endpoint."""
    async with CallbackReceiver() as listening:
        yield listening


async def say(broker: Broker, worker: str, task: TaskMessage, event: str, *, running: bool = False) -> None:
    """What a worker of another make says of a task."""
    now = SystemClock().now()
    details = {"progress": 0.5} if event == "progress" else {}
    report = Report(task.task_id, task.attempt, task.token, ReportEvent(event), now, details)
    names = [Running(task.task_id, task.attempt, task.token)] if running else []
    message = WorkerMessage(WorkerInfo(worker, worker, queues={"work": 1}), names, [report])
    await broker.publish([Outgoing(Address.REPORTS, Message(message.to_json()))])


async def test_what_a_broker_lost_is_found_while_no_worker_says_anything(
    tmp_path: Path, receiver: CallbackReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine that hears nothing has nothing unread: it does not wait for the next heartbeat of anybody."""
    monkeypatch.setattr("taskengine.engine.reaper._START_GRACE_S", 0.1)
    monkeypatch.setattr("taskengine.engine.reaper._LOOK_MS", 20)
    async with bench(settings_for(tmp_path), receiver, workers=False) as world:
        async with world.engine.broker.consume(Address.TASKS, "work", prefetch=1) as tasks, asyncio.timeout(20):
            job_id = await world.submit("chain", 1)
            tokens = []
            for _ in range(2):
                [delivery] = await tasks.batch(1)
                tokens.append(TaskMessage.from_json(delivery.message.body).token)
                await delivery.ack()
        [first, *_] = await world.engine.store.tasks(job_id)
        assert [attempt["token"] for attempt in first.attempts] == tokens[:1]
        assert first.task.token == tokens[1]


async def test_a_silent_workers_task_is_taken_back_and_its_late_result_refused(
    tmp_path: Path, receiver: CallbackReceiver
) -> None:
    """The next attempt has a token of its own; who comes back is fenced; one start and one end are told."""
    async with bench(settings_for(tmp_path, heartbeat_s=0.2), receiver, workers=False) as world:
        broker = world.engine.broker
        job_id = await world.submit("flaky", 0)
        async with (
            broker.consume(Address.TASKS, "work", prefetch=1) as tasks,
            broker.subscribe(Address.CONTROL, ["worker.silent"]) as control,
        ):
            [delivery] = await tasks.batch(1)
            first = TaskMessage.from_json(delivery.message.body)
            await say(broker, "silent", first, "started", running=True)
            await delivery.ack()
            [delivery] = await tasks.batch(1)
            second = TaskMessage.from_json(delivery.message.body)
            assert (second.task_id, second.attempt) == (first.task_id, 2)
            assert second.token != first.token
            for late in ("progress", "completed"):
                await say(broker, "silent", first, late)
                [fence] = await control.batch(1)
                told = ControlMessage.from_json(fence.message.body)
                assert (late, told.action.value, told.token) == (late, "fenced", first.token)
            await say(broker, "other", second, "completed")
            await delivery.ack()
            assert not (await world.ended(job_id)).failed
        [stored] = await world.engine.views.tasks(ADMIN, job_id)
        assert [attempt["outcome"] for attempt in stored.attempts] == ["lost", "completed"]
        assert world.told(job_id) == [("try", "start"), ("try", "complete"), ("job", "completed")]


class Ledger:
    """As much of a store as the reaper's look at time needs."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.seen_before: list[int] = []

    async def meta(self, name: str) -> str | None:
        """A value."""
        return self.values.get(name)

    async def set_meta(self, name: str, value: str) -> None:
        """Set it."""
        self.values[name] = value

    async def expired(self, *, seen_before: int, published_before: int, limit: int) -> list[tuple[int, int, str]]:
        """What was asked for."""
        del published_before, limit
        self.seen_before.append(seen_before)
        return []


class Watch:
    """A reaper with a heartbeat of 5 s, under a moved clock."""

    def __init__(self) -> None:
        self.ledger, self.clock, self.hears = Ledger(), MovedClock(), True
        store, broker = cast(JobStore, self.ledger), cast(Broker, None)
        decisions, effects = cast(Decisions, None), cast(Effects, None)
        self.reaper = Reaper(
            store,
            broker,
            decisions,
            effects,
            self.clock,
            heartbeat_s=5,
            missed=3,
            hearing=lambda: Hearing(self.hears, self.clock.now()),
        )

    async def judges(self) -> bool:
        """Whether a sweep now takes silence for loss."""
        await self.reaper.sweep()
        return self.ledger.seen_before[-1] > 0

    async def listen(self, beats: int) -> None:
        """Sweep at every heartbeat."""
        for _ in range(beats):
            await self.reaper.sweep()
            await self.clock.advance(5)


async def test_silence_counts_only_while_the_engine_listened_for_a_whole_lease() -> None:
    """After a start, a lease has to pass first."""
    watch = Watch()
    assert not await watch.judges()
    await watch.listen(3)
    assert await watch.judges()


async def test_lost_leases_are_looked_for_twice_in_a_heartbeat() -> None:
    """What is lost waits for half a heartbeat beyond its lease: 17.5 s with the default one."""
    watch = Watch()
    running = asyncio.create_task(watch.reaper.run())
    await watch.clock.advance(15)
    assert [at > 0 for at in watch.ledger.seen_before] == [False] * 6 + [True]
    running.cancel()


async def test_an_outage_shorter_than_a_lease_does_not_count_either() -> None:
    """With the heartbeat before it, twelve seconds of an absent store look like a lease."""
    watch = Watch()
    await watch.listen(4)
    await watch.clock.advance(12)
    assert not await watch.judges()


async def test_while_reports_cannot_be_heard_nobody_is_silent() -> None:
    """The broker is away: the time counts again from when it is back."""
    watch = Watch()
    await watch.listen(4)
    watch.hears = False
    await watch.listen(10)
    assert not await watch.judges()
    watch.hears = True
    assert not await watch.judges()
    await watch.listen(3)
    assert await watch.judges()


async def test_a_clock_that_was_set_back_is_not_waited_for() -> None:
    """Leases are judged again after one of them, not when the old time has come again."""
    watch = Watch()
    await watch.listen(4)
    ahead = watch.clock.now() + 3_600_000
    watch.ledger.values["engine_listening"] = f"{ahead} {ahead}"
    assert not await watch.judges()
    await watch.listen(3)
    assert await watch.judges()
