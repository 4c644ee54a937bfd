"""The contract of stores: undelivered callbacks stand in lines, one per job and endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from taskengine.domain.job import Callback, Changes, LogEntry
from taskengine.domain.status import JobState
from taskengine.ports import NONE_BUSY, Busy, DueCallback, Settlement, Store
from tests.support.clock import START
from tests.support.stores import Database, a_callback, a_job, a_task, submit

MINUTE = 60_000
ONE, TWO = "http://one/", "http://two/"


async def job_with(store: Store, *callbacks: Callback, job_id: int = 1, client: str = "demo") -> None:
    """A job of which these callbacks are due."""
    await submit(store, Changes(a_job(job_id, client=client), callbacks=list(callbacks)))


async def claim(store: Store, at: int = START, *, limit: int = 10, busy: Busy = NONE_BUSY) -> Sequence[DueCallback]:
    """Claim for a minute."""
    return await store.claim_callbacks(at, lease_until=at + MINUTE, limit=limit, busy=busy)


async def settle(
    store: Store, callback: DueCallback, state: str = "delivered", *, at: int = START, next_at: int | None = None
) -> None:
    """Settle with the answer that goes with the state."""
    status, error = (200, None) if state == "delivered" else (500, "500 Internal Server Error")
    await store.settle_callbacks([Settlement(callback, state, at, status, error, next_at)])


def marks(callbacks: Sequence[DueCallback]) -> list[str]:
    """What they carry."""
    return [callback.body for callback in callbacks]


async def states(store: Store, job_id: int = 1) -> list[str]:
    """The states of a job's deliveries in order."""
    return [callback["state"] for callback in await store.callbacks(job_id)]


async def test_a_claimed_callback_carries_all_that_sending_needs(store: Store) -> None:
    """Its body to the letter, its id, and what the rules of delivery ask for."""
    body = '{"a": 1.10,  "b": "é"}'
    task = a_task(1)
    callback = Callback(ONE, "start", "msg_1", body, START - 5, task, headers={"x-title": "é"})
    await submit(store, Changes(a_job(1), new_tasks=[task], callbacks=[callback]))
    [due] = await claim(store)
    assert due == DueCallback(
        due.id, 1, "demo", ONE, "start", "msg_1", body, START - 5, 0, 0, START - 5, None, {"x-title": "é"}
    )  # fmt: skip
    [listed] = await store.callbacks(1)
    assert listed == {
        "id": due.id, "endpoint": ONE, "event": "start", "task_id": task.id, "webhook_id": "msg_1", "state": "pending",
        "attempts": 0, "last_status": None, "last_error": None, "created_at": START - 5, "next_at": START + MINUTE,
        "delivered_at": None,
    }  # fmt: skip


async def test_a_line_is_delivered_in_order_one_at_a_time(store: Store) -> None:
    """The next one is due when the one before is settled."""
    await job_with(store, *(a_callback(mark=mark) for mark in "abc"))
    got = []
    for _ in range(3):
        [due] = await claim(store)
        assert await claim(store) == [], "one is in flight"
        got.append(due.body)
        await settle(store, due)
    assert got == ["a", "b", "c"]
    assert await claim(store, START + 10 * MINUTE) == []
    assert await store.next_callback() is None
    assert await states(store) == ["delivered"] * 3
    [first, *_] = await store.callbacks(1)
    assert (first["attempts"], first["last_status"], first["delivered_at"]) == (1, 200, START)
    assert first["next_at"] is None


async def test_lines_do_not_wait_for_one_another(store: Store) -> None:
    """Each job and each endpoint has a line of its own; they come in order of their due times."""
    await job_with(store, a_callback(ONE, mark="a1", at=START - 1), a_callback(TWO, mark="a2", at=START - 3))
    await job_with(store, a_callback(ONE, mark="b1", at=START - 2), job_id=2, client="other")
    await job_with(store, a_callback(ONE, mark="c1", at=START + 1), job_id=3)
    assert marks(await claim(store, limit=2)) == ["a2", "b1"]
    assert marks(await claim(store)) == ["a1"]
    assert await store.next_callback() == START + 1


async def test_busy_endpoints_are_passed_over(store: Store) -> None:
    """Neither claimed, nor the reason to wake up."""
    await job_with(store, a_callback(ONE, mark="a", at=START - 2), a_callback(TWO, mark="b", at=START - 1))
    assert await store.next_callback() == START - 2
    assert await store.next_callback(busy=Busy([ONE])) == START - 1
    assert await store.next_callback(busy=Busy([ONE, TWO])) is None
    assert marks(await claim(store, busy=Busy([ONE]))) == ["b"]


async def test_busy_servers_are_passed_over_with_all_their_endpoints(store: Store) -> None:
    """Whatever follows their beginning; another whose name begins alike is not meant."""
    urls = "http://a/one", "http://a/two?x=%25", "http://a.example/", "http://b/"
    await job_with(store, *(a_callback(url, mark=url, at=START + place) for place, url in enumerate(urls)))
    busy = Busy(["http://b/"], ["http://a/", "http://elsewhere/"])
    assert await store.next_callback(busy=busy) == START + 2
    assert marks(await claim(store, START + 9, busy=busy)) == ["http://a.example/"]
    assert marks(await claim(store, START + 9)) == ["http://a/one", "http://a/two?x=%25", "http://b/"]


async def test_settlements_of_many_are_written_together_each_for_itself(store: Store) -> None:
    """Delivered, dead, put off, given back and settled before: none touches another's line, and each log entry finds
    its job."""
    kinds = ("delivered", "dead", "put off", "given back", "before")
    for job_id, mark in enumerate(kinds, 1):
        await job_with(store, a_callback(mark=mark), a_callback(event="job", mark=f"end of {mark}"), job_id=job_id)
    due = {one.body: one for one in await claim(store)}
    await settle(store, due["before"])
    [next_of_before] = await claim(store)
    entry = LogEntry(3, "callback", "it is dead", START)
    await store.settle_callbacks([
        Settlement(due["before"], "dead", START + 1, 404, "answered 404", log=entry),
        Settlement(due["given back"], "pending", START + 1, next_at=START + 7),
        Settlement(due["put off"], "pending", START + 1, 500, "answered 500", next_at=START + 8),
        Settlement(due["dead"], "dead", START + 1, 404, "answered 404", log=entry),
        Settlement(due["delivered"], "delivered", START + 1, 200),
    ])  # fmt: skip
    found = [(await store.callbacks(job_id))[0] for job_id in range(1, 6)]
    assert [(one["state"], one["attempts"], one["last_status"], one["next_at"]) for one in found] == [
        ("delivered", 1, 200, None), ("dead", 1, 404, None), ("pending", 1, 500, START + 8),
        ("pending", 0, None, START + 7), ("delivered", 1, 200, None),
    ]  # fmt: skip
    assert [len(await store.logs(job_id)) for job_id in range(1, 6)] == [0, 1, 0, 0, 0]
    assert next_of_before.body == "end of before"
    assert marks(await claim(store, START + 1)) == ["end of delivered", "end of dead"]
    assert [(one.body, one.failures) for one in await claim(store, START + 8)] == [("given back", 0), ("put off", 1)]
    assert (await store.callback_backlog())[0] == 7


async def test_of_settlements_that_cannot_be_written_none_is(store: Store) -> None:
    """All or nothing: whoever asked writes each for itself then."""
    await job_with(store, a_callback(mark="a"), a_callback(TWO, mark="b"))
    good, bad = await claim(store)
    with pytest.raises(Exception, match=r"."):  # which, is the driver's
        await store.settle_callbacks(
            [Settlement(good, "delivered", START, 200), Settlement(bad, "no state", START, 200)]
        )
    assert await states(store) == ["pending", "pending"]


async def test_a_failed_try_puts_the_whole_line_off(store: Store) -> None:
    """The line's clock counts failures in a row; a delivery sets it back."""
    await job_with(store, a_callback(mark="a"), a_callback(mark="b"))
    for tries in range(3):
        [due] = await claim(store, START + tries * 10)
        assert (due.body, due.attempts, due.failures) == ("a", tries, tries)
        await settle(store, due, "pending", at=START + tries * 10, next_at=START + tries * 10 + 10)
        assert await claim(store, START + tries * 10 + 9) == []
        assert await store.next_callback() == START + tries * 10 + 10
    [listed, other] = await store.callbacks(1)
    assert (listed["attempts"], listed["last_status"], listed["next_at"]) == (3, 500, START + 30)
    assert listed["last_error"] == "500 Internal Server Error"
    assert other["attempts"] == 0
    [due] = await claim(store, START + 30)
    await settle(store, due, at=START + 31)
    [due] = await claim(store, START + 31)
    assert (due.body, due.attempts, due.failures) == ("b", 0, 0)


async def test_a_callback_that_was_given_back_untried_counts_no_try(store: Store) -> None:
    """Attempts, failures and what the endpoint said last stay as they were."""
    await job_with(store, a_callback())
    [due] = await claim(store)
    await settle(store, due, "pending", next_at=START + 5)
    [due] = await claim(store, START + 5)
    await store.settle_callbacks([Settlement(due, "pending", START + 5, next_at=START + 7)])
    assert await store.next_callback() == START + 7
    [again] = await claim(store, START + 7)
    assert (again.attempts, again.failures) == (1, 1)
    assert (await store.callbacks(1))[0]["last_status"] == 500


async def test_claims_of_a_process_that_is_gone_are_released(store: Store) -> None:
    """They are due at once, and what nobody had claimed keeps its time."""
    await job_with(store, a_callback(mark="a"))
    [due] = await claim(store)
    assert await claim(store, START + 1) == []
    await store.release_claims(START + 1)
    assert [again.id for again in await claim(store, START + 1)] == [due.id]


async def test_an_unsettled_claim_is_due_again_when_its_lease_is_over(store: Store) -> None:
    """Whoever claimed it may have died; its late word is still heard, and once only."""
    await job_with(store, a_callback(mark="a"), a_callback(mark="b"))
    [first] = await claim(store)
    assert await claim(store, START + MINUTE - 1) == []
    assert await store.next_callback() == START + MINUTE
    [second] = await claim(store, START + MINUTE)
    assert second == first
    await settle(store, first)
    await settle(store, second)
    await settle(store, second, "dead")
    await settle(store, second, "pending", next_at=START)
    assert await states(store) == ["delivered", "pending"]
    assert (await store.callbacks(1))[0]["attempts"] == 1
    assert (await store.callback_backlog())[0] == 1


async def test_claims_outlive_a_restart(database: Database) -> None:
    """A store that was closed in the middle gives the delivery again when the lease is over."""
    async with database.open() as store:
        await job_with(store, a_callback())
        assert len(await claim(store)) == 1
    async with database.open() as store:
        assert await claim(store) == []
        assert len(await claim(store, START + MINUTE)) == 1


async def test_concurrent_claims_share_the_lines(store: Store) -> None:
    """No line is claimed twice."""
    for job_id in range(1, 21):
        await job_with(store, a_callback(), job_id=job_id)
    claimed = await asyncio.gather(*(claim(store, limit=5) for _ in range(6)))
    ids = [due.id for batch in claimed for due in batch]
    assert len(ids) == len(set(ids)) == 20


async def test_a_dead_callback_lets_the_next_one_go(store: Store) -> None:
    """It is kept, visible, and the line's failures begin anew."""
    await job_with(store, a_callback(mark="a"), a_callback(mark="b"))
    [due] = await claim(store)
    await settle(store, due, "pending", next_at=START)
    [due] = await claim(store)
    await settle(store, due, "dead")
    [due] = await claim(store)
    assert (due.body, due.failures) == ("b", 0)
    assert await states(store) == ["dead", "pending"]
    assert (await store.callbacks(1))[0]["attempts"] == 2


async def test_a_job_event_follows_the_task_events(store: Store) -> None:
    """It goes at once when the last of them is settled, delivered or dead."""
    await job_with(store, a_callback(mark="a"), a_callback(mark="b"), a_callback(event="job", mark="end"))
    for mark, state in (("a", "delivered"), ("b", "dead")):
        [due] = await claim(store, START + 1)
        assert due.body == mark
        await settle(store, due, state, at=START + 1)
    assert await store.next_callback() == START + 1
    assert marks(await claim(store, START + 1)) == ["end"]


async def test_a_job_event_alone_goes_at_once(store: Store) -> None:
    """Nothing is there to wait for."""
    await job_with(store, a_callback(event="job", mark="end"))
    assert marks(await claim(store)) == ["end"]


async def test_a_job_event_overtakes_after_five_minutes(store: Store) -> None:
    """It has a clock of its own then, and the task events are still tried on theirs."""
    await job_with(store, a_callback(mark="a"), a_callback(event="job", mark="end"))
    [due] = await claim(store)
    await settle(store, due, "pending", next_at=START + 30 * MINUTE)
    assert await store.next_callback() == START + 5 * MINUTE
    assert await claim(store, START + 5 * MINUTE - 1) == []
    [end] = await claim(store, START + 5 * MINUTE)
    assert (end.body, end.failures, end.oldest_at) == ("end", 0, START)
    await settle(store, end, "pending", at=START + 5 * MINUTE, next_at=START + 50 * MINUTE)
    [due] = await claim(store, START + 30 * MINUTE)
    assert (due.body, due.failures) == ("a", 1)
    await settle(store, due, at=START + 30 * MINUTE)
    assert await store.next_callback() == START + 50 * MINUTE, "its own clock goes on"
    [end] = await claim(store, START + 50 * MINUTE)
    assert (end.body, end.failures) == ("end", 1)
    await settle(store, end, at=START + 50 * MINUTE)
    assert await states(store) == ["delivered", "delivered"]


async def test_a_job_event_in_flight_is_not_claimed_again_when_the_task_events_end(store: Store) -> None:
    """One in flight per line holds for the line that has overtaken."""
    await job_with(store, a_callback(mark="a"), a_callback(event="job", mark="end"))
    late = START + 5 * MINUTE
    first, end = sorted(await claim(store, late), key=lambda due: due.body)
    await settle(store, first, at=late + 1)
    assert end.body == "end"
    assert await claim(store, late + 2) == []
    await settle(store, end, at=late + 3)
    assert await store.next_callback() is None


async def test_events_that_come_later_join_their_line(store: Store) -> None:
    """A line that is put off stays so; one that was empty is due at once."""
    await job_with(store, a_callback(mark="a"))
    [due] = await claim(store)
    await settle(store, due, "pending", next_at=START + 100)
    await store.decide(
        [1],
        lambda s: Changes(
            s.job, s.job.state, callbacks=[a_callback(mark="b", at=START + 1), a_callback(TWO, mark="c")]
        ),
    )
    assert marks(await claim(store, START + 99)) == ["c"]
    [due] = await claim(store, START + 100)
    await settle(store, due, at=START + 100)
    assert marks(await claim(store, START + 100)) == ["b"]


async def test_a_killed_line_is_dead_as_a_whole(store: Store) -> None:
    """All that is left of it, with the reason; what was delivered and other lines are left alone."""
    await job_with(
        store,
        a_callback(mark="a"),
        a_callback(mark="b"),
        a_callback(event="job", mark="end"),
        a_callback(TWO, mark="c"),
    )
    [due, _] = await claim(store)
    await settle(store, due)
    await store.kill_line(1, ONE, "the endpoint answered 410 Gone", START)
    listed = await store.callbacks(1)
    assert [one["state"] for one in listed] == ["delivered", "dead", "dead", "pending"]
    assert [one["last_error"] for one in listed] == [None, *["the endpoint answered 410 Gone"] * 2, None]
    assert marks(await claim(store, START + 10 * MINUTE)) == ["c"]
    assert (await store.callback_backlog())[0] == 1


async def test_the_rest_of_a_line_is_dead_with_the_one_that_was_refused(store: Store) -> None:
    """In one write: nobody can claim the next in between. Other endpoints and jobs go on."""
    await job_with(
        store,
        a_callback(mark="a"),
        a_callback(mark="b"),
        a_callback(event="job", mark="end"),
        a_callback(TWO, mark="c"),
    )
    first = next(due for due in await claim(store) if due.body == "a")
    await store.settle_callbacks(
        [Settlement(first, "dead", START, 410, "answered 410", rest="the endpoint is gone", gone=True)]
    )
    listed = {one["webhook_id"]: one for one in await store.callbacks(1)}
    assert {one: listed[one]["state"] for one in listed} == {
        "msg_a": "dead", "msg_b": "dead", "msg_end": "dead", "msg_c": "pending",
    }  # fmt: skip
    assert (listed["msg_a"]["attempts"], listed["msg_a"]["last_status"]) == (1, 410)
    assert listed["msg_b"]["last_error"] == "the endpoint is gone"
    assert (await store.callback_backlog())[0] == 1
    assert await claim(store, START + 10) == []


async def test_a_job_event_outlives_the_task_events_whose_time_is_over(store: Store) -> None:
    """It has a time of its own: it is due at once, for nothing is before it any more."""
    await job_with(store, a_callback(mark="a"), a_callback(mark="b"), a_callback(event="job", mark="end"))
    [due] = await claim(store)
    await store.settle_callbacks([Settlement(due, "dead", START + 1, 500, "answered 500", rest="undelivered")])
    assert await states(store) == ["dead", "dead", "pending"]
    assert marks(await claim(store, START + 1)) == ["end"]
    assert (await store.callback_backlog())[0] == 1


async def test_dead_callbacks_are_replayed(store: Store) -> None:
    """They are due at once, in their order, with the same webhook ids, tries and 72 hours anew."""
    await job_with(store, a_callback(mark="a"), a_callback(mark="b"), a_callback(event="job", mark="end"))
    [due] = await claim(store)
    await settle(store, due)
    await store.kill_line(1, ONE, "gone", START)
    later = START + 1000 * MINUTE
    assert len(await store.replay_callbacks(later)) == 2
    assert (await store.callback_backlog()) == (2, START)
    [due] = await claim(store, later)
    assert (due.body, due.webhook_id, due.attempts, due.failures) == ("b", "msg_b", 0, 0)
    assert (due.created_at, due.oldest_at) == (START, later)
    await settle(store, due, at=later)
    assert marks(await claim(store, later)) == ["end"]
    assert len(await store.replay_callbacks(later)) == 0


async def test_a_delivered_callback_is_replayed_where_it_is_named(store: Store) -> None:
    """By its id, within the job and client that are named with it."""
    await job_with(store, a_callback(mark="a"))
    [due] = await claim(store)
    await settle(store, due)
    assert len(await store.replay_callbacks(START + 1, job_id=1)) == 0
    assert len(await store.replay_callbacks(START + 1, job_id=2, callback_id=due.id)) == 0
    assert len(await store.replay_callbacks(START + 1, client="other", callback_id=due.id)) == 0
    assert len(await store.replay_callbacks(START + 1, job_id=1, callback_id=due.id)) == 1
    assert len(await store.replay_callbacks(START + 1, job_id=1, callback_id=due.id)) == 0
    assert marks(await claim(store, START + 1)) == ["a"]
    assert (await store.callbacks(1))[0]["delivered_at"] is None


@pytest.mark.parametrize(("condition", "replayed"), [
    ({"job_id": 2}, [2]), ({"client": "demo"}, [1, 3]), ({"since": START + 5}, [3]), ({"since": START}, [1, 2, 3]),
    ({"client": "demo", "since": START + 5}, [3]), ({}, [1, 2, 3]),
])  # fmt: skip
async def test_replay_is_limited_by_its_conditions(
    store: Store, condition: dict[str, Any], replayed: list[int]
) -> None:
    """Job, client and creation time choose among the dead."""
    for job_id, client, at in ((1, "demo", START), (2, "other", START), (3, "demo", START + 5)):
        await job_with(store, a_callback(at=at), job_id=job_id, client=client)
        await store.kill_line(job_id, ONE, "gone", START)
    await store.replay_callbacks(START + 9, **condition)
    assert sorted(due.job_id for due in await claim(store, START + 9)) == replayed


async def test_dead_callbacks_are_listed_and_replayed_page_by_page(store: Store) -> None:
    """In the order of their ids, whoever's they are; what is delivered or pending is none of them."""
    for job_id, client in ((1, "demo"), (2, "other"), (3, "demo"), (4, "demo")):
        await job_with(store, a_callback(at=START + job_id), job_id=job_id, client=client)
    for job_id in (3, 1, 2):
        await store.kill_line(job_id, ONE, "gone", START)
    first, *others = listed = await store.dead_callbacks()
    assert [one["job_id"] for one in listed] == [1, 2, 3]
    assert (first["state"], first["last_error"], first["endpoint"], first["next_at"]) == ("dead", "gone", ONE, None)
    assert await store.dead_callbacks(after_id=first["id"]) == others
    assert [one["job_id"] for one in await store.dead_callbacks(client="demo", since=START + 2)] == [3]
    assert await store.dead_callbacks(limit=1) == [first]
    assert await store.replay_callbacks(START + 9, limit=2) == [first["id"], others[0]["id"]]
    assert await store.replay_callbacks(START + 9, after_id=others[0]["id"]) == [others[1]["id"]]
    assert not await store.dead_callbacks()


async def test_a_replay_ends_the_wait_of_its_line(store: Store) -> None:
    """A line that stood in its back-off starts at once with the replayed one; one in flight is left to its sender."""
    await job_with(store, a_callback(mark="a"), a_callback(mark="b"))
    [due] = await claim(store)
    await settle(store, due, "dead")
    [due] = await claim(store)
    assert len(await store.replay_callbacks(START)) == 1
    assert await claim(store) == [], "b is in flight"
    await settle(store, due, "pending", next_at=START + 100)
    [due] = await claim(store, START + 100)
    assert due.body == "a"
    await settle(store, due, "dead", at=START + 100)
    [due] = await claim(store, START + 100)
    await settle(store, due, "pending", at=START + 100, next_at=START + 900)
    assert len(await store.replay_callbacks(START + 101)) == 1
    assert marks(await claim(store, START + 101)) == ["a"]


async def test_the_backlog_counts_what_is_undelivered(store: Store) -> None:
    """And tells the age of the oldest."""
    assert await store.callback_backlog() == (0, None)
    await job_with(store, a_callback(mark="a", at=START + 5), a_callback(mark="b", at=START + 6))
    assert await store.callback_backlog() == (2, START + 5)
    [due] = await claim(store, START + 5)
    await settle(store, due)
    assert await store.callback_backlog() == (1, START + 6)


async def test_jobs_with_undelivered_callbacks_are_not_cleaned_away(store: Store) -> None:
    """What is due is delivered or visibly dead before its job may go."""
    ended = a_job(1, state=JobState.COMPLETED, completed_at=START - 100)
    await submit(store, Changes(ended, callbacks=[a_callback(event="job")]))
    assert list(await store.clean(ended_before=START, limit=10)) == []
    [due] = await claim(store)
    await settle(store, due, "dead")
    assert list(await store.clean(ended_before=START, limit=10)) == [1]
    assert list(await store.callbacks(1)) == []
