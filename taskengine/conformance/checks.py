"""The rules of `messaging.md` that can be seen from outside, one check each, in an order in which they build on another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from taskengine.brokers import open_broker
from taskengine.conformance.findings import Broken, Finding, State
from taskengine.conformance.played import PlayedEngine, message_of
from taskengine.conformance.redelivery import send_redelivered
from taskengine.domain.messages import ControlAction, TaskMessage
from taskengine.ports import Message

CANCEL_S = 5.0  # within which an attempt that was cancelled is over
_SILENCES = 3  # heartbeats after which a worker is taken for dead
_TIMEOUT_S = 2.0  # of the task that is to run out of time
_QUIET_S = 2.0  # in which nothing more may come


@dataclass(frozen=True, slots=True)
class Plan:
    """What the worker can do. `handler` ends soon with `inputs`; `slow_handler`, where there is one, runs for more than a
    minute with `slow_inputs`."""

    queue: str
    handler: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    slow_handler: str | None = None
    slow_inputs: Mapping[str, Any] = field(default_factory=dict)
    heartbeat_s: float = 5.0
    patience_s: float = 30.0  # for a quick task, and for the worker to be there
    only: str = ""  # a part of the names of the checks that are wanted, beside the first

    @property
    def silence_s(self) -> float:
        """How long a worker may be silent before it is taken for dead."""
        return _SILENCES * self.heartbeat_s


class _Judge:
    """The checks; each raises Broken where a rule is broken."""

    def __init__(self, url: str, engine: PlayedEngine, plan: Plan) -> None:
        self._url, self._engine, self._plan = url, engine, plan

    def checks(self) -> Iterator[tuple[str, bool, Callable[[], Awaitable[str]]]]:
        """(what is checked, whether it needs the slow handler, the check)."""
        yield "a task is executed and reported", False, self.executes
        yield "the worker names itself and its slots", False, self.registers
        yield "fields that it does not know are ignored", False, self.ignores_unknown_fields
        yield "a handler that it does not know fails the task", False, self.refuses_unknown_handlers
        yield "what is not JSON becomes a dead letter", False, self.dead_letters_garbage
        yield "a version that it does not know becomes a dead letter", False, self.dead_letters_versions
        yield "a redelivered task is given back, not run", False, self.releases_redelivered
        yield "it is heard at least every heartbeat while it works", True, self.beats
        yield "a cancelled attempt is over within 5 s, and nothing more is told of it", True, self.cancels
        yield "a fenced attempt is over within 5 s, and nothing more is told of it", True, self.fences
        yield "an attempt that runs out of time fails as `timeout`", True, self.times_out
        yield "every message keeps to its schema", False, self.keeps_schemas
        yield "on drain it takes nothing new and settles what it holds", False, self.drains

    async def executes(self) -> str:
        """The first sign of life."""
        task = self._quick()
        await self._engine.send(task)
        told = await self._engine.end(task, self._plan.patience_s)
        if told.event != "completed":
            raise Broken(f"it was {told.event}: {told.body.get('error') or told.body.get('reason')}")
        events = self._engine.events(task)
        if "started" in events and events[0] != "started":
            raise Broken(f"`started` came after the end: {events}")
        return "started and completed" if "started" in events else "completed (started is implied)"

    async def registers(self) -> str:
        """Id, name and slots, in every message."""
        serving = [
            worker for worker in self._engine.workers.values() if self._plan.queue in (worker.get("queues") or {})
        ]
        if not serving:
            raise Broken(f"no worker says that it serves {self._plan.queue!r} in `worker.queues`")
        return ", ".join(f"{one.get('name')}: {one['queues'][self._plan.queue]} slots" for one in serving)

    async def ignores_unknown_fields(self) -> str:
        """A later engine may send more."""
        task = self._quick()
        await self._engine.send(task, invented={"by": "a later version"})
        await self._completed(task)
        return ""

    async def refuses_unknown_handlers(self) -> str:
        """`failed`, and the worker goes on."""
        task = self._engine.task("conformance.nobody-has-this", {})
        await self._engine.send(task)
        told = await self._engine.end(task, self._plan.patience_s)
        if told.event != "failed":
            raise Broken(f"it was {told.event}")
        return f"failed as {told.body['error']['kind']}"

    async def dead_letters_garbage(self) -> str:
        """And its consumer lives."""
        return await self._dead_letter(Message(b"\x00 this is {no JSON"))

    async def dead_letters_versions(self) -> str:
        """Whatever else it has: it may mean something else."""
        return await self._dead_letter(message_of(self._quick(), v=99))

    async def releases_redelivered(self) -> str:
        """Only the engine knows whether the first worker is alive."""
        task = self._quick()
        await send_redelivered(self._url, self._engine, task)
        told = await self._engine.end(task, self._plan.patience_s)
        if told.event != "released" or told.body.get("reason") != "redelivered":
            raise Broken(f"it was {told.event} ({told.body.get('reason')}); released (redelivered) is wanted")
        if "started" in self._engine.events(task):
            raise Broken("it was started before")
        return ""

    async def beats(self) -> str:
        """What is not named for three heartbeats is taken for lost."""
        task = self._slow()
        await self._begin(task)
        began = time.monotonic()
        await asyncio.sleep(self._plan.silence_s)
        times = [began, *self._engine.named(task, began), time.monotonic()]
        longest = max(after - before for before, after in pairwise(times))
        await self._engine.control(ControlAction.CANCEL, task)
        if longest > self._plan.heartbeat_s * 1.5:
            raise Broken(f"for {longest:.1f} s no message named the task; heartbeat_s is {self._plan.heartbeat_s:g}")
        return f"at most {longest:.1f} s apart"

    async def cancels(self) -> str:
        """By the engine's word."""
        return await self._over(ControlAction.CANCEL)

    async def fences(self) -> str:
        """By the engine's refusal."""
        return await self._over(ControlAction.FENCED)

    async def times_out(self) -> str:
        """`timeout_s` is the attempt's limit."""
        task = self._slow(timeout_s=_TIMEOUT_S)
        await self._engine.send(task)
        told = await self._engine.end(task, _TIMEOUT_S + CANCEL_S + self._plan.heartbeat_s)
        kind = (told.body.get("error") or {}).get("kind")
        if told.event != "failed" or kind != "timeout":
            raise Broken(f"it was {told.event} ({kind})")
        return ""

    async def keeps_schemas(self) -> str:
        """Of all that came until now."""
        if self._engine.faults:
            raise Broken("; ".join(dict.fromkeys(self._engine.faults))[:500])
        return f"{len(self._engine.heard)} messages"

    async def drains(self) -> str:
        """What runs is finished or given back; what is sent then stays in the queue."""
        running = None
        if self._plan.slow_handler:
            running = self._slow()
            await self._begin(running)
        await self._engine.control(ControlAction.DRAIN)
        await asyncio.sleep(_QUIET_S)  # for its consumer to be cancelled
        late = self._quick()
        await self._engine.send(late)
        if running is not None:
            told = await self._engine.end(running, self._plan.patience_s)
            if told.event == "released" and told.body.get("reason") != "drain":
                raise Broken(f"the running task was released for {told.body.get('reason')!r}; `drain` is wanted")
        await asyncio.sleep(_QUIET_S)
        if self._engine.events(late):
            raise Broken("a task that came after the drain was taken")
        if (lying := await self._engine.waiting()) != 1:
            raise Broken(f"{lying} messages lie in the queue; only the one that came after the drain should")
        return ""

    # ------------------------------------------------------------------------------------------------------- in common

    def _quick(self) -> TaskMessage:
        return self._engine.task(self._plan.handler, self._plan.inputs)

    def _slow(self, timeout_s: float = 600) -> TaskMessage:
        return self._engine.task(str(self._plan.slow_handler), self._plan.slow_inputs, timeout_s)

    async def _completed(self, task: TaskMessage) -> None:
        told = await self._engine.end(task, self._plan.patience_s)
        if told.event != "completed":
            raise Broken(f"it was {told.event}: {told.body.get('error') or told.body.get('reason')}")

    async def _begin(self, task: TaskMessage) -> None:
        await self._engine.send(task)
        await self._engine.begun(task, self._plan.patience_s)

    async def _dead_letter(self, message: Message) -> str:
        before = len(self._engine.letters)
        await self._engine.send_raw(message)
        if not await self._engine.until(lambda: len(self._engine.letters) > before, self._plan.patience_s):
            raise Broken("nothing came to the queue of dead letters")
        letter = self._engine.letters[-1]
        if letter.body != message.body:
            raise Broken("the dead letter has another body")
        reason = letter.headers.get("x-reason")
        if not reason:
            raise Broken("the dead letter has no reason in the header x-reason")
        task = self._quick()
        await self._engine.send(task)
        await self._completed(task)
        return str(reason)[:100]

    async def _over(self, action: ControlAction) -> str:
        task = self._slow()
        await self._begin(task)
        told = time.monotonic()
        await self._engine.control(action, task)
        limit = CANCEL_S + self._plan.heartbeat_s  # its next heartbeat tells
        if not await self._engine.until(lambda: self._engine.silent_of(task, told), limit):
            named = self._engine.named(task, told)
            raise Broken(
                f"{named[-1] - told:.1f} s after {action.value} it still named the task as running" if named
                else f"nothing was heard for {limit:g} s after {action.value}"
            )  # fmt: skip
        took = time.monotonic() - told
        await asyncio.sleep(self._plan.heartbeat_s)
        ends = [event for event in self._engine.events(task) if event != "started"]
        if ends:
            raise Broken(f"it reported {ends[0]!r} of the task")
        return f"not named any more after {took:.1f} s"


async def judge_worker(
    url: str, plan: Plan, ready: Callable[[], None] = lambda: None, tell: Callable[[Finding], None] = lambda _: None
) -> list[Finding]:
    """Judge the worker that serves `plan.queue` at the broker `url`; no engine may be there with the same prefix.

    `ready` is called once reports are heard; `tell` of each finding as it comes. Raises BrokerUnavailable.
    """
    async with open_broker(url) as broker:
        engine = PlayedEngine(broker, plan.queue, plan.heartbeat_s)
        async with engine.listening():
            ready()
            findings: list[Finding] = []
            for name, needs_slow, check in _Judge(url, engine, plan).checks():
                if findings and plan.only not in name:
                    continue
                finding = await _judged(name, check) if plan.slow_handler or not needs_slow else _skipped(name)
                findings.append(finding)
                tell(finding)
                if not engine.workers:
                    break  # nobody is there
            return findings


def _skipped(name: str) -> Finding:
    return Finding(name, State.SKIPPED, "needs a handler that runs for more than a minute")


async def _judged(name: str, check: Callable[[], Awaitable[str]]) -> Finding:
    try:
        return Finding(name, State.PASSED, await check())
    except Broken as broken:
        return Finding(name, State.FAILED, str(broken))
