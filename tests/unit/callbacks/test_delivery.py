"""The delivery loop on a moved clock: order, retries, ends, outages, and that nobody waits for another."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from taskengine.engine.callbacks import CallbackDelivery, CallbackPolicy
from taskengine.engine.settling import Settling
from taskengine.ports import DueCallback, SendResult, Settlement
from tests.support.callback_store import MemoryCallbackStore
from tests.support.clock import START, MovedClock

A, B = "http://a.example/hook", "http://b.example/hook"
POLICY = CallbackPolicy()
HOUR = 3600


@dataclass
class Sender:
    """The `CallbackSender` port: answers by endpoint as it is told, 200 otherwise."""

    clock: MovedClock
    store: MemoryCallbackStore
    outage_after: int = 0  # calls of the store that fail once something was sent
    sent: list[tuple[str, str, int]] = field(default_factory=list)  # endpoint, webhook id, second since the start
    answers: defaultdict[str, list[SendResult | Exception]] = field(default_factory=lambda: defaultdict(list))
    hanging: set[str] = field(default_factory=set)
    at_once: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    most: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    async def send(self, callback: DueCallback) -> SendResult:
        """Note it; the last answer of an endpoint's list is for ever."""
        url = callback.endpoint
        self.sent.append((url, callback.webhook_id, (self.clock.now() - START) // 1000))
        self.at_once[url] += 1
        self.most[url] = max(self.most[url], self.at_once[url])
        self.store.outages += self.outage_after
        try:
            if url in self.hanging:
                await self.clock.sleep(15)
                return SendResult(None, "no answer within 15 s")
            await asyncio.sleep(0)
            return self._answer(url)
        finally:
            self.at_once[url] -= 1

    def times(self, url: str) -> list[int]:
        """When an endpoint was called."""
        return [at for one, _, at in self.sent if one == url]

    def ids(self, url: str) -> list[str]:
        """What an endpoint was sent."""
        return [webhook_id for one, webhook_id, _ in self.sent if one == url]

    def _answer(self, url: str) -> SendResult:
        answers = self.answers[url]
        answer = (answers.pop(0) if len(answers) > 1 else answers[0]) if answers else SendResult(200)
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class World:
    """What a test of the loop has in hand."""

    clock: MovedClock
    store: MemoryCallbackStore
    sender: Sender
    delivery: CallbackDelivery
    stop: Callable[[], object]

    async def wake(self) -> None:
        """New callbacks were committed."""
        self.delivery.wake()
        await self.clock.settle()


@asynccontextmanager
async def running(policy: CallbackPolicy = POLICY, store: MemoryCallbackStore | None = None) -> AsyncIterator[World]:
    """A loop that delivers, ended at the end."""
    clock = MovedClock()
    store = store or MemoryCallbackStore()
    sender = Sender(clock, store)
    delivery = CallbackDelivery(store, sender, clock, replace(policy, jitter=0))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(delivery.run())
        await clock.settle()
        try:
            yield World(clock, store, sender, delivery, task.cancel)
        finally:
            task.cancel()


async def test_callbacks_of_a_line_arrive_in_order_and_at_once() -> None:
    """No time passes between them, and each goes out once."""
    async with running() as world:
        rows = [world.store.add(A, event, now=START) for event in ("start", "complete", "job")]
        await world.wake()
        assert world.sender.ids(A) == [row.webhook_id for row in rows]
        assert world.store.states() == ["delivered"] * 3
        assert world.clock.now() == START


async def test_what_is_left_from_before_is_delivered_at_the_start() -> None:
    """A restart needs no wake."""
    store = MemoryCallbackStore()
    store.add(A, now=START - 1000)
    async with running(store=store):
        assert store.states() == ["delivered"]


async def test_nothing_is_asked_of_the_store_while_nothing_is_due() -> None:
    """There is no polling."""
    async with running() as world:
        asked = len(world.store.calls)
        await world.clock.advance(24 * HOUR)
        assert len(world.store.calls) == asked


async def test_a_failed_delivery_is_tried_again_on_the_published_schedule_until_72_hours() -> None:
    """The last try comes at 72 hours; then all that is left of the line is dead, and the job's log says so."""
    async with running() as world:
        world.sender.answers[A] = [SendResult(500, "answered 500 Internal Server Error")]
        for event in ("start", "job"):
            world.store.add(A, event, now=START)
        await world.wake()
        await world.clock.advance(280)
        assert world.sender.times(A) == [0, 5, 35, 155]
        assert set(world.sender.ids(A)) == {"msg_1"}
        await world.clock.advance(80 * HOUR)
        tried = [at for _, webhook_id, at in world.sender.sent if webhook_id == "msg_1"]
        assert tried[:8] == [0, 5, 35, 155, 755, 2555, 6155, 13355]
        assert {later - sooner for sooner, later in pairwise(tried[7:-1])} == {6 * HOUR}
        assert tried[-1] == 72 * HOUR
        assert world.store.states() == ["dead", "dead"]
        first, *_, last = [entry for _, entry in world.store.logs]
        assert (first.severity, first.progname) == (2, "callback")
        assert (
            first.message
            == "callback 'start' to http://a.example/hook failed: answered 500 Internal Server Error; it is tried again"
        )
        assert last.severity == 3
        assert "it is dead: undelivered for 72 hours" in last.message


async def test_a_job_callback_has_72_hours_of_its_own() -> None:
    """Whatever became of the task callbacks before it: a job may take longer than their time."""
    async with running() as world:
        world.sender.answers[A] = [SendResult(500, "answered 500 Internal Server Error")]
        world.store.add(A, "start", now=START)
        await world.wake()
        await world.clock.advance(71 * HOUR)
        world.store.add(A, "complete", now=world.clock.now())
        world.store.add(A, "job", now=world.clock.now())
        await world.clock.advance(2 * HOUR)
        assert world.store.states() == ["dead", "dead", "pending"]
        world.sender.answers[A] = [SendResult(200)]
        await world.clock.advance(6 * HOUR)
        assert world.store.states() == ["dead", "dead", "delivered"]


async def test_the_next_of_a_line_waits_for_the_one_before() -> None:
    """Order is kept over failures, and what comes meanwhile does not hasten a try."""
    async with running() as world:
        world.sender.answers[A] = [SendResult(None, "down"), SendResult(None, "down"), SendResult(200)]
        world.store.add(A, "start", now=START)
        await world.wake()
        world.store.add(A, "complete", now=START)
        await world.wake()
        await world.clock.advance(60)
        assert world.sender.ids(A) == ["msg_1", "msg_1", "msg_1", "msg_2"]
        assert world.sender.times(A) == [0, 5, 35, 35]


async def test_an_unwanted_task_callback_is_dead_after_three_tries_and_the_next_one_goes() -> None:
    """The job callback behind it keeps its time whatever the answer."""
    async with running() as world:
        world.sender.answers[A] = [SendResult(404, "answered 404 Not Found")]
        world.store.add(A, "start", now=START)
        world.store.add(A, "job", now=START)
        await world.wake()
        await world.clock.advance(HOUR)
        assert world.store.states() == ["dead", "pending"]
        assert [at for _, webhook_id, at in world.sender.sent if webhook_id == "msg_1"] == [0, 5, 35]
        assert len([1 for webhook_id in world.sender.ids(A) if webhook_id == "msg_2"]) >= 4
        world.sender.answers[A] = [SendResult(200)]
        await world.clock.advance(HOUR)
        assert world.store.states() == ["dead", "delivered"]


async def test_410_ends_the_line_of_that_job_alone() -> None:
    """Other jobs and other endpoints go on."""
    async with running() as world:
        world.sender.answers[A] = [SendResult(410, "answered 410 Gone"), SendResult(200)]
        rows = [
            world.store.add(A, "start", job_id=1, now=START),
            world.store.add(A, "job", job_id=1, now=START),
            world.store.add(B, "start", job_id=1, now=START),
        ]
        await world.wake()
        later = world.store.add(A, "start", job_id=2, now=START)
        await world.wake()
        assert [row.state for row in (*rows, later)] == ["dead", "dead", "delivered", "delivered"]


async def test_what_a_job_tells_an_endpoint_after_its_410_is_not_sent_unless_it_is_replayed() -> None:
    """The endpoint is stopped for the job, not for what was due by then alone."""
    async with running() as world:
        world.sender.answers[A] = [SendResult(410, "answered 410 Gone"), SendResult(200)]
        first = world.store.add(A, "start", now=START)
        await world.wake()
        later = [world.store.add(A, "complete", now=START), world.store.add(A, "job", now=START)]
        await world.wake()
        assert (world.sender.ids(A), [row.state for row in later]) == ([first.webhook_id], ["dead", "dead"])
        assert {row.last_error for row in later} == {"the endpoint answered 410 Gone"}
        await world.store.replay_callbacks(START)
        world.delivery.replayed()
        await world.clock.settle()
        assert world.store.states() == ["delivered"] * 3


async def test_a_client_s_retry_limit_holds_for_its_callbacks_at_once() -> None:
    """The setting that is in force when the answer comes decides."""
    clock, store = MovedClock(), MemoryCallbackStore()
    sender, limits = Sender(clock, store), {"demo": 9, "other": 1}
    delivery = CallbackDelivery(store, sender, clock, POLICY, retry_limit=lambda client: limits[client])
    sender.answers[A] = sender.answers[B] = [SendResult(404, "answered 404 Not Found")]
    rows = [store.add(A, now=START), store.add(B, now=START, client="other", job_id=2)]
    async with asyncio.TaskGroup() as group:
        task = group.create_task(delivery.run())
        await clock.settle()
        assert [row.state for row in rows] == ["pending", "dead"]
        limits["demo"] = 2
        await clock.advance(10)
        assert [row.state for row in rows] == ["dead", "dead"]
        task.cancel()


async def test_retry_after_sets_the_next_try() -> None:
    """At most an hour later."""
    async with running() as world:
        world.sender.answers[A] = [SendResult(503, "busy", 60.0), SendResult(429, "busy", 9 * HOUR), SendResult(200)]
        world.store.add(A, now=START)
        await world.wake()
        await world.clock.advance(2 * HOUR)
        assert world.sender.times(A) == [0, 60, 60 + HOUR]


async def test_a_job_callback_overtakes_task_callbacks_that_wait_for_five_minutes() -> None:
    """They are still tried after it."""
    async with running() as world:
        world.sender.answers[A] = [SendResult(500, "no")]
        world.store.add(A, "start", now=START)
        job = world.store.add(A, "job", now=START)
        await world.wake()
        await world.clock.advance(299)
        assert job.attempts == 0
        world.sender.answers[A] = [SendResult(200)]
        await world.clock.advance(1)
        assert world.sender.sent[-1] == (A, job.webhook_id, 300)
        assert job.state == "delivered"
        await world.clock.advance(HOUR)
        assert world.store.states() == ["delivered", "delivered"]


async def test_an_endpoint_that_hangs_delays_nobody_else() -> None:
    """A hundred jobs wait for it, and another endpoint's callback goes out at once."""
    async with running() as world:
        world.sender.hanging.add(A)
        for job_id in range(100):
            world.store.add(A, job_id=job_id, now=START)
        await world.wake()
        for second in range(40):
            row = world.store.add(B, job_id=1000 + second, now=world.clock.now())
            await world.wake()
            assert row.state == "delivered"
            await world.clock.advance(1)
        assert world.sender.most[A] == 1, "it has never answered"
        assert len(world.sender.times(A)) < 20
        await world.clock.advance(600)
        calls = len(world.sender.times(A))
        await world.clock.advance(600)
        assert len(world.sender.times(A)) - calls <= 600 / 60  # the breaker is open: a try a minute at most


async def test_an_endpoint_that_comes_back_gets_all_that_waited() -> None:
    """The breaker closes with the first answer, and nothing is lost."""
    async with running() as world:
        world.sender.hanging.add(A)
        for job_id in range(100):
            world.store.add(A, job_id=job_id, now=START)
        await world.wake()
        await world.clock.advance(300)
        world.sender.hanging.clear()
        await world.clock.advance(2 * HOUR)
        assert world.store.states() == ["delivered"] * 100


async def test_a_line_that_is_due_later_is_not_hidden_by_a_busy_endpoint() -> None:
    """The alarm is set for what can be sent."""
    async with running() as world:
        world.sender.answers[B] = [SendResult(500, "no"), SendResult(200)]
        world.store.add(B, now=START)
        await world.wake()
        world.sender.hanging.add(A)
        for job_id in range(2, 20):
            world.store.add(A, job_id=job_id, now=START)
        await world.wake()
        await world.clock.advance(5)
        assert world.sender.times(B) == [0, 5]


@pytest.mark.parametrize("url", ["http://h{}.example/", "http://one.example/{}"])
async def test_many_callbacks_go_out_within_the_limits(url: str) -> None:
    """A backlog larger than one claim, or than the share of its one server, is worked off without time passing."""
    policy = CallbackPolicy(concurrency=10, per_endpoint_concurrency=3, claim_batch=8)
    async with running(policy) as world:
        for job_id in range(60):
            world.store.add(url.format(job_id % 6), job_id=job_id, now=START)
        world.delivery.wake()
        while "pending" in world.store.states():
            await world.clock.settle()
        assert world.clock.now() == START
        assert max(world.sender.most.values()) <= 3
        assert len(world.sender.sent) == 60


async def test_a_store_that_is_away_stops_nothing_for_good() -> None:
    """Claims and verdicts are tried until the store is back; the delivery is made once."""
    async with running() as world:
        world.store.add(A, now=START)
        world.store.outages = 3
        await world.wake()
        await world.clock.advance(5)
        assert world.store.states() == ["delivered"]
        world.store.add(A, "complete", now=world.clock.now())
        world.sender.hanging.add(A)
        await world.wake()
        world.sender.hanging.clear()
        world.store.outages = 4
        await world.clock.advance(15 + 60)
        assert world.store.states() == ["delivered", "delivered"]


async def test_an_outage_longer_than_a_claim_does_not_send_twice() -> None:
    """The verdict is kept until it can be written, though the claim has run out meanwhile."""
    async with running() as world:
        world.sender.outage_after = 1_000_000
        row = world.store.add(A, now=START)
        await world.wake()
        await world.clock.advance(60)
        assert (row.attempts, row.state) == (0, "pending")
        world.sender.outage_after = world.store.outages = 0
        await world.clock.advance(15)
        assert (row.attempts, row.state) == (1, "delivered")
        await world.clock.advance(HOUR)
        assert len(world.sender.sent) == 1


async def test_a_claim_that_could_not_be_settled_is_due_again_with_the_same_id() -> None:
    """At least once: the receiver can tell by the id."""
    async with running() as world:
        row = world.store.add(A, now=START)
        settled = world.store.settle_callbacks

        async def broken(*args: object, **named: object) -> None:
            raise ZeroDivisionError

        world.store.settle_callbacks = broken  # type: ignore[method-assign]  # a defect of the store
        await world.wake()
        await world.clock.advance(140)
        world.store.settle_callbacks = settled  # type: ignore[method-assign]  # mended
        await world.clock.advance(140)
        assert row.state == "delivered"
        assert set(world.sender.ids(A)) == {row.webhook_id}
        assert len(world.sender.sent) >= 2


async def test_a_settlement_that_the_store_refuses_is_no_concern_of_others() -> None:
    """They are written without it; it is tried for a while, and is due again when its claim has run out."""
    async with running() as world:
        settle = world.store.settle_callbacks

        async def picky(settlements: Sequence[Settlement]) -> None:
            if any(one.callback.endpoint == A for one in settlements):
                raise ZeroDivisionError
            await settle(settlements)

        world.store.settle_callbacks = picky  # type: ignore[method-assign]  # a defect of the store
        row = world.store.add(A, now=START)
        others = [world.store.add(f"http://h{number}.example/", job_id=number, now=START) for number in range(2, 9)]
        await world.wake()
        assert [other.state for other in others] == ["delivered"] * 7
        world.store.settle_callbacks = settle  # type: ignore[method-assign]  # mended
        await world.clock.advance(30)
        assert (row.state, len(world.sender.sent)) == ("delivered", 8)


async def test_settlements_that_wait_go_together() -> None:
    """What comes while the store writes is written with the next call, each callback once."""
    async with running() as world:
        settle, free, batches = world.store.settle_callbacks, asyncio.Event(), list[int]()

        async def slow(settlements: Sequence[Settlement]) -> None:
            batches.append(len(settlements))
            await free.wait()
            await settle(settlements)

        world.store.settle_callbacks = slow  # type: ignore[method-assign]
        for number in range(9):
            world.store.add(f"http://h{number}.example/", job_id=number, now=START)
            await world.wake()
        free.set()
        await world.clock.settle()
        assert batches == [1, 8]
        assert world.store.states() == ["delivered"] * 9


async def test_what_was_delivered_is_written_at_the_end() -> None:
    """A store that does not answer in time is asked once more: whoever comes next does not send it again."""
    async with running() as world:
        settle, calls = world.store.settle_callbacks, list[int]()

        async def first_hangs(settlements: Sequence[Settlement]) -> None:
            calls.append(len(settlements))
            if len(calls) == 1:
                await asyncio.Event().wait()
            await settle(settlements)

        world.store.settle_callbacks = first_hangs  # type: ignore[method-assign]
        for url in (A, B):
            world.store.add(url, now=START)
            await world.wake()
        world.stop()
        await world.clock.settle()
        assert calls == [1, 2]
        assert world.store.states() == ["delivered"] * 2


async def test_a_claim_that_ran_out_is_not_given_back() -> None:
    """Somebody else may have it by then."""
    clock, store, ended = MovedClock(), MemoryCallbackStore(), list[Settlement]()
    settling = Settling(store, clock, ended.extend)
    store.add(A, now=START)
    [due] = await store.claim_callbacks(START, lease_until=START + 100, limit=1)
    store.outages = 1
    async with asyncio.TaskGroup() as group:
        task = group.create_task(settling.run())
        settling.put(Settlement(due, "pending", START, next_at=START), until=START + 100)
        await clock.advance(1)
        task.cancel()
    assert [one.callback for one in ended] == [due]
    assert store.lines[1, A, False].next_at == START + 100


async def test_a_defect_of_the_sender_is_a_failed_try() -> None:
    """The loop lives, and the try is repeated."""
    async with running() as world:
        world.sender.answers[A] = [ZeroDivisionError("secret"), SendResult(200)]
        row = world.store.add(A, now=START)
        await world.wake()
        assert row.last_error == "internal fault: ZeroDivisionError"
        await world.clock.advance(5)
        assert row.state == "delivered"


async def test_at_its_end_claims_are_given_back_untried() -> None:
    """What is being sent and what was held is due at once for whoever comes next, with no try counted."""
    async with running() as world:
        world.sender.hanging.add(A)
        for job_id in range(10):
            world.store.add(A, job_id=job_id, now=START)
        await world.wake()
        assert len(world.sender.sent) == 1
        world.stop()
        await world.clock.settle()
        assert {line.next_at for line in world.store.lines.values()} == {START}
        assert [row.attempts for row in world.store.rows] == [0] * 10
        assert world.store.states() == ["pending"] * 10


async def test_secrets_of_an_endpoint_are_not_in_the_job_s_log() -> None:
    """User, password and query are left out."""
    async with running() as world:
        url = "https://user:pass@a.example/hook?token=secret"
        world.sender.answers[url] = [SendResult(410, "answered 410 Gone")]
        world.store.add(url, now=START)
        await world.wake()
        ((_, entry),) = world.store.logs
        assert "https://a.example/hook failed" in entry.message
        assert not any(secret in entry.message for secret in ("user", "pass", "secret"))


@pytest.mark.parametrize("limit", [1, 5])
async def test_the_retry_limit_of_unwanted_callbacks_is_the_setting_s(limit: int) -> None:
    """It counts tries."""
    async with running(CallbackPolicy(retry_limit=limit)) as world:
        world.sender.answers[A] = [SendResult(403, "answered 403 Forbidden")]
        row = world.store.add(A, now=START)
        await world.wake()
        await world.clock.advance(24 * HOUR)
        assert (row.state, row.attempts) == ("dead", limit)
