"""Workers against handlers that misbehave, and against what the engine tells them late, early or twice."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from taskengine.clock import SystemClock
from taskengine.domain.messages import MAX_MESSAGE_BYTES, MAX_OUTPUT_BYTES, ReportEvent, WorkerInfo
from taskengine.engine.worker import Worker
from taskengine.ports import Address, Broker, Consumer, Delivery, Message, Outgoing, TaskContext
from tests.support.pool import Work, facilities, pool
from tests.support.vault import VAULT


async def noop(context: TaskContext) -> dict[str, Any]:
    """Nothing."""
    return {}


def raising(error: BaseException) -> Work:
    """A handler that raises."""

    async def work(context: TaskContext) -> Any:
        raise error

    return work


def returning(value: Any) -> Work:
    """A handler that returns."""

    async def work(context: TaskContext) -> Any:
        return value

    return work


def runs(pid: int) -> bool:
    """Whether a process does: one that nobody has reaped yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Odd(BaseException):
    """What no handler should raise."""


@pytest.mark.parametrize(
    ("work", "text"),
    [
        (raising(SystemExit(3)), "SystemExit"),
        (raising(Odd("odd")), "odd"),
        (raising(asyncio.CancelledError()), "CancelledError"),
        (raising(BaseExceptionGroup("many", [Odd()])), "many"),
        (raising(RuntimeError("\udc80" * 100_000)), "RuntimeError"),
        (returning([1]), "no object but list"),
        (returning(None), "no object but NoneType"),
        (returning({"x": float("nan")}), "no JSON"),
        (returning({"x": object()}), "no JSON"),
        (returning({"x": "y" * MAX_OUTPUT_BYTES}), "at most 65536"),
    ],
)
async def test_whatever_a_handler_does_becomes_a_report(tmp_path: Path, work: Work, text: str) -> None:
    """The attempt has failed, and the worker takes the next task."""
    async with pool(tmp_path, {"odd": work, "noop": noop}) as talk:
        report = await talk.end_of(await talk.send("odd"))
        assert (report.event, report.details["error"]["kind"]) == (ReportEvent.FAILED, "internal")
        assert text in report.details["error"]["message"]
        assert (await talk.end_of(await talk.send("noop"))).event is ReportEvent.COMPLETED
        assert max(talk.sizes) <= MAX_MESSAGE_BYTES
    assert not list(tmp_path.iterdir())


async def test_odd_progress_and_log_entries_do_not_silence_the_worker(tmp_path: Path) -> None:
    """Numbers that are none are left out; a name that is not UTF-8 and a flood of entries arrive, in their order."""

    async def work(context: TaskContext) -> dict[str, Any]:
        context.report_progress(float("nan"))
        context.report_progress(0.5, speed=float("inf"), eta_s=float("nan"))
        flood = "\x01" * 20_000
        for message in [f"{number} \udc80{flood}" for number in range(100)]:
            context.log.info(message)
        return {}

    async with pool(tmp_path, {"odd": work}) as talk:
        token = await talk.send("odd")
        assert (await talk.end_of(token)).event is ReportEvent.COMPLETED
        entries = [e for r in talk.reports if r.event is ReportEvent.LOG for e in r.details["entries"]]
        assert [int(entry["message"].partition(" ")[0]) for entry in entries] == list(range(100))
        assert max(talk.sizes) <= MAX_MESSAGE_BYTES


async def test_a_worker_beats_as_often_as_its_tasks_ask(tmp_path: Path) -> None:
    """Its own setting is a minute; while it is at a task that asks for a tenth of a second, it sends that often."""
    release = asyncio.Event()

    async def work(context: TaskContext) -> dict[str, Any]:
        await release.wait()
        return {}

    async with pool(tmp_path, {"work": work}, heartbeat_s=60.0) as talk:
        token = await talk.send("work")
        await talk.until(lambda: sum(token in {one.token for one in said.running} for said in talk.messages) >= 5)
        assert talk.events(token) == ["started"]
        release.set()
        await talk.end_of(token)


async def test_a_cancel_may_come_before_its_task(tmp_path: Path) -> None:
    """The task is not run and nothing is said of it."""
    ran: list[str] = []

    async def work(context: TaskContext) -> dict[str, Any]:
        ran.append(context.task.token)
        return {}

    async with pool(tmp_path, {"work": work}) as talk:
        await talk.tell("cancel", "gone")
        await asyncio.sleep(0)  # control is heard
        beats = len(talk.messages)
        await talk.until(lambda: len(talk.messages) > beats)
        await talk.send("work", token="gone")
        await talk.end_of(await talk.send("work", token="kept"))
        assert (ran, talk.events("gone")) == (["kept"], [])


async def test_a_worker_says_at_once_that_it_ends_what_was_called_off_and_that_it_has(tmp_path: Path) -> None:
    """By heartbeats out of their turn: while it cleans up it names the attempt, then it names it no more."""
    began, clean = asyncio.Event(), asyncio.Event()

    async def work(context: TaskContext) -> dict[str, Any]:
        try:
            began.set()
            await asyncio.sleep(60)
        finally:
            await clean.wait()
        return {}

    async with pool(tmp_path, {"work": work}, heartbeat_s=60.0) as talk:
        token = await talk.send("work", heartbeat_s=60.0)  # nothing else makes it speak
        await talk.until(lambda: talk.events(token) == ["started"])
        said = len(talk.messages)
        await talk.tell("cancel", token)
        await talk.until(lambda: len(talk.messages) > said)
        assert [one.token for one in talk.messages[-1].running] == [token]
        clean.set()
        await talk.until(lambda: not talk.messages[-1].running)
        assert talk.events(token) == ["started"]


async def test_a_fence_that_is_told_again_does_not_break_the_clean_up(tmp_path: Path) -> None:
    """The second word of the same end finds the attempt cleaning up and leaves it to it."""
    began, told, cleaned = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(context: TaskContext) -> dict[str, Any]:
        try:
            began.set()
            await asyncio.sleep(60)
        finally:
            told.set()
            await asyncio.sleep(0.3)
            cleaned.set()
        return {}

    async with pool(tmp_path, {"work": work, "noop": noop}) as talk:
        token = await talk.send("work")
        await began.wait()
        await talk.tell("cancel", token)
        await told.wait()
        await talk.tell("fenced", token)
        await talk.end_of(await talk.send("noop"))
        assert cleaned.is_set()
        assert talk.events(token) == ["started"]
    assert not list(tmp_path.iterdir())


async def test_a_long_task_is_acknowledged_early_and_nothing_waits_behind_it(tmp_path: Path) -> None:
    """With both slots taken the consumer stands back; it takes again with the first slot that is free."""
    release: dict[str, asyncio.Event] = {"a": asyncio.Event(), "b": asyncio.Event()}

    def waiting(name: str) -> Callable[[TaskContext], Awaitable[Any]]:
        async def work(context: TaskContext) -> Any:
            await release[name].wait()
            return {}

        return work

    works = {"a": waiting("a"), "b": waiting("b"), "noop": noop}
    async with pool(tmp_path, works, slots=2, early_ack_s=0.05) as talk:
        first, second = await talk.send("a"), await talk.send("b")
        await talk.until(lambda: talk.events(first) == ["started"] and talk.events(second) == ["started"])
        beats = len(talk.messages)
        third = await talk.send("noop")
        await talk.until(lambda: len(talk.messages) > beats + 2)
        assert talk.events(third) == []
        release["b"].set()
        assert (await talk.end_of(third)).event is ReportEvent.COMPLETED
        for _ in range(3):
            await talk.end_of(await talk.send("noop"))
        release["a"].set()
        assert (await talk.end_of(first)).event is ReportEvent.COMPLETED


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_a_deadline_ends_the_process_group(tmp_path: Path) -> None:
    """The program and its child are gone, the fault is a timeout, the scratch is removed."""
    pids: list[int] = []

    async def work(context: TaskContext) -> Any:
        await context.run(
            ["/bin/sh", "-c", "trap '' TERM; sleep 60 & echo $!; wait; wait"],
            on_line=lambda line: pids.append(int(line)),
        )
        return {}

    async with pool(tmp_path, {"work": work}) as talk:
        report = await talk.end_of(await talk.send("work", timeout_s=0.4))
        assert report.details["error"]["kind"] == "timeout"
    assert not list(tmp_path.iterdir())
    [child] = pids
    assert not runs(child)


async def test_a_worker_that_is_cancelled_as_a_task_comes_ends(tmp_path: Path) -> None:
    """Nothing of the delivery has run yet; its slot is waited for by nobody."""

    class Cancelling(Consumer):
        def __init__(self, inner: Consumer) -> None:
            self._inner = inner

        async def batch(self, most: int) -> list[Delivery]:
            deliveries = await self._inner.batch(most)
            running.cancel()
            return deliveries

        async def pause(self) -> None:
            await self._inner.pause()

        async def resume(self) -> None:
            await self._inner.resume()

        async def set_prefetch(self, most: int) -> None:
            await self._inner.set_prefetch(most)

    async with pool(tmp_path, {"noop": noop}) as talk:
        consume = talk.broker.consume

        @asynccontextmanager
        async def consuming(address: Address, key: str = "", *, prefetch: int = 1) -> AsyncIterator[Consumer]:
            async with consume(address, key, prefetch=prefetch) as consumer:
                yield Cancelling(consumer)

        info = WorkerInfo("two", "two", queues={"other": 2})
        broker = SimpleNamespace(consume=consuming, subscribe=talk.broker.subscribe, publish=talk.broker.publish)
        given: dict[str, Any] = {"heartbeat_s": 1, "drain_grace_s": 0}
        worker = Worker(info, cast(Broker, broker), {}, facilities(tmp_path), SystemClock(), VAULT, **given)
        running = asyncio.create_task(worker.run())
        await talk.broker.publish([Outgoing(Address.TASKS, Message(b"{}"), "other")])
        done, _ = await asyncio.wait({running}, timeout=10)
        assert done
        assert running.cancelled()
