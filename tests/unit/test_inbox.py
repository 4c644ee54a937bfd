"""What workers say waits by job: in order, in one decider's hands at a time, acknowledged when all of it is durable."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from taskengine.domain.messages import Report, ReportEvent
from taskengine.engine.inbox import Inbox, Told
from taskengine.ports import Message


class Delivered:
    """A message whose settling is seen."""

    redelivered: bool = False
    body: bytes = b""

    def __init__(self) -> None:
        self.message = Message(self.body)
        self.acked = 0

    async def ack(self) -> None:
        """Done with it."""
        self.acked += 1

    async def requeue(self) -> None:
        """Nobody does."""
        raise AssertionError

    async def reject(self, reason: str, letter: Message | None = None) -> None:
        """Nobody does."""
        raise AssertionError(reason, letter)


def told(number: int) -> Told:
    """A report that is known by its attempt."""
    return Told("w", "box", Report(1, number, "token", ReportEvent.LOG, 0))


def numbers(some: Mapping[int, Sequence[Told]]) -> dict[int, list[int]]:
    """By job, which reports."""
    return {job_id: [one.report.attempt for one in reports] for job_id, reports in some.items()}


async def test_what_is_said_of_a_job_stays_in_order_and_in_one_pair_of_hands() -> None:
    """What comes while a job is being decided on waits for it; other jobs go on."""
    inbox = Inbox()
    await inbox.add(Delivered(), [(7, told(1)), (8, told(2)), (7, told(3))], 0)
    assert numbers(await inbox.some(1)) == {7: [1, 3]}
    await inbox.add(Delivered(), [(7, told(4))], 0)
    assert numbers(await inbox.some(9)) == {8: [2]}
    waiting = asyncio.create_task(inbox.some(9))
    await asyncio.sleep(0)
    assert not waiting.done()
    await inbox.done([7])
    assert numbers(await waiting) == {7: [4]}


async def test_a_message_is_acknowledged_with_the_last_of_its_reports() -> None:
    """And once; one that says nothing, at once."""
    inbox, message, silent = Inbox(), Delivered(), Delivered()
    await inbox.add(message, [(7, told(1)), (8, told(2)), (7, told(3))], 0)
    await inbox.add(silent, [], 0)
    assert (message.acked, silent.acked) == (0, 1)
    await inbox.some(9)
    await inbox.done([7])
    assert message.acked == 0
    await inbox.done([8])
    assert message.acked == 1


async def test_nothing_waits_for_a_batch_to_fill_and_none_is_greater_than_asked_for() -> None:
    """One report goes at once; of many jobs, those that have waited longest go first."""
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.some(2))
    await asyncio.sleep(0)
    await inbox.add(Delivered(), [(5, told(1))], 0)
    assert numbers(await waiting) == {5: [1]}
    await inbox.add(Delivered(), [(3, told(2)), (9, told(3)), (1, told(4))], 0)
    assert list(await inbox.some(2)) == [3, 9]
    assert list(await inbox.some(2)) == [1]


async def test_it_is_closed_once_everything_is_durable() -> None:
    """What is taken counts as much as what waits; then whoever waits for more is told that there is none."""
    inbox = Inbox()
    await inbox.add(Delivered(), [(7, told(1))], 0)
    closing = asyncio.create_task(inbox.close())
    await inbox.some(9)
    waiting = asyncio.create_task(inbox.some(9))
    await asyncio.sleep(0)
    assert not closing.done()
    await inbox.done([7])
    await asyncio.wait_for(closing, 10)
    assert await asyncio.wait_for(waiting, 10) == {}


async def test_the_oldest_message_that_is_not_decided_on_is_known() -> None:
    """Also where what came after it is over first; one that says nothing never waits."""
    inbox = Inbox()
    await inbox.add(Delivered(), [], 1)
    assert (len(inbox), inbox.oldest_at) == (0, None)
    await inbox.add(Delivered(), [(7, told(1)), (8, told(2))], 2)
    await inbox.add(Delivered(), [(9, told(3))], 3)
    await inbox.some(9)
    await inbox.done([9, 7])
    assert (len(inbox), inbox.oldest_at) == (1, 2)
    await inbox.done([8])
    assert (len(inbox), inbox.oldest_at) == (0, None)
