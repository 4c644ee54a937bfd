"""Jobs submitted by message, on the in-process broker: answered as `POST /job` answers, and made once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from taskengine.api import HttpLimits, Intake
from taskengine.domain.errors import BrokerUnavailable, StoreUnavailable
from taskengine.domain.tenants import Caller, Role
from taskengine.ports import Address, Consumer, JobFilter, Message, Outgoing
from tests.support.api import ADMIN, ADMIN_HEADERS, World, api_world
from tests.support.brokers import take

JOB = {"job": {"workflow": "chain", "priority": 3}, "parameters": {"content_id": "c1", "x": 5}}
SEALED = {"job": {"workflow": "sealed"}, "parameters": {"content_key": "00112233445566778899aabbccddeeff"}}


class Bus:
    """Another system: it submits, and hears the answers."""

    def __init__(self, world: World, answers: Consumer) -> None:
        self.world, self._answers = world, answers
        self.running: asyncio.Future[None] = asyncio.Future()
        self.intake = Intake(world.services, {"encoder": "studio"})

    async def say(
        self, body: Any, *, key: str | None = "m1", headers: Mapping[str, Any] = ADMIN_HEADERS, **more: Any
    ) -> None:
        """Publish a submission that asks for an answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = Message(data, key, headers, **{"reply_to": "answers", "correlation_id": "c7", **more})
        await self.world.services.broker.publish([Outgoing(Address.JOBS, message)])

    async def answer(self) -> dict[str, Any]:
        """The next answer."""
        [delivery] = await take(self._answers, 1)
        await delivery.ack()
        assert delivery.message.correlation_id == "c7"
        found: dict[str, Any] = json.loads(delivery.message.body)
        return found

    async def ask(self, body: Any, **how: Any) -> dict[str, Any]:
        """Submit and wait for the answer."""
        await self.say(body, **how)
        return await self.answer()

    async def dead(self) -> Message:
        """The next dead letter."""
        async with self.world.services.broker.consume(Address.DEAD) as letters:
            [letter] = await take(letters, 1)
            await letter.ack()
            return letter.message

    async def jobs(self) -> Sequence[int]:
        """The ids of all jobs."""
        return [job.id for job in await self.world.store.port.jobs(JobFilter(limit=100, ascending=True))]


@asynccontextmanager
async def bus_world(tmp_path: Path, **changes: Any) -> AsyncIterator[Bus]:
    """The API with the intake beside it, consuming."""
    async with (
        api_world(tmp_path, **changes) as world,
        world.services.broker.consume(Address.REPLY, "answers", prefetch=100) as answers,
    ):
        bus = Bus(world, answers)
        bus.running = asyncio.ensure_future(bus.intake.run())
        yield bus
        bus.running.cancel()


@pytest.fixture
async def bus(tmp_path: Path) -> AsyncIterator[Bus]:
    """A bus."""
    async with bus_world(tmp_path) as made:
        yield made


async def test_a_message_is_answered_as_the_http_call_is(bus: Bus) -> None:
    """The same fields and the status; the job is the client's, and its log says where it came from."""
    answer = await bus.ask({**JOB, "v": 1})
    by_http = await bus.world.call("POST", "/job", JOB)
    assert answer["status"] == by_http.status == 200
    assert answer.keys() - {"status"} == by_http.body.keys()
    assert [task["name"] for task in answer["tasks"]] == [task["name"] for task in by_http.body["tasks"]]
    job = await bus.world.call("GET", f"/jobs/{answer['id']}")
    assert (job.body["priority"], job.body["parameters"]) == (3, {"content_id": "c1", "x": 5})
    first = (await bus.world.call("GET", f"/logs/{answer['id']}")).body[0]["message"]
    assert json.loads(first)["path"] == "amqp:jobs"
    assert ADMIN_HEADERS["api-key"] not in first


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"job": {"workflow": "vodstreem"}},
        {"job": {"workflow": "chain", "priority": 11, "colour": "red"}, "parameters": {"y": 1}},
        {"job": {"workflow": "chain", "after": [999]}, "parameters": {"rest_endpoints": ["http://10.0.0.1/"]}},
        {"client": "somebody", "job": {"workflow": "chain"}},
        {"client": 7, "job": {"workflow": "chain"}},
    ],
)
async def test_faults_are_told_in_the_words_of_the_http_call(bus: Bus, body: Mapping[str, Any]) -> None:
    """The whole body of the answer is the same, every fault in it; nothing is stored."""
    answer = await bus.ask(body)
    by_http = await bus.world.call("POST", "/job", body)
    assert by_http.status >= 400
    assert answer == {**by_http.body, "status": by_http.status}
    assert await bus.jobs() == []


@pytest.mark.parametrize(
    "headers", [{}, {"client": ADMIN}, {"client": ADMIN, "api-key": "wrong"}, {"client": "nobody", "api-key": "wrong"}]
)
async def test_wrong_credentials_are_refused_in_the_same_words(bus: Bus, headers: Mapping[str, str]) -> None:
    """401, whether it is the client or the key that is wrong."""
    by_http = await bus.world.call("POST", "/job", JOB, by=None, headers=headers)
    assert await bus.ask(JOB, headers=headers) == {**by_http.body, "status": 401}
    assert await bus.jobs() == []


async def test_credentials_come_in_headers_of_any_spelling_and_as_bytes(bus: Bus) -> None:
    """As HTTP's: names without case, the key's aliases, the client in the body."""
    key = ADMIN_HEADERS["api-key"]
    assert (await bus.ask(JOB, key="a", headers={"Client": ADMIN, "X-API-Key": key.encode()}))["status"] == 200
    assert (await bus.ask({**JOB, "client": ADMIN}, key="b", headers={"x-auth-key": key}))["status"] == 200


async def test_a_message_that_comes_twice_makes_one_job(bus: Bus) -> None:
    """The same id with the same body gets the first answer, over HTTP too; with another body it is refused."""
    first = await bus.ask(JOB)
    assert await bus.ask(JOB) == first
    over_http = await bus.world.call("POST", "/job", JOB, headers={"Idempotency-Key": "m1"})
    assert {**over_http.body, "status": 200} == first
    other = await bus.ask({**JOB, "parameters": {}})
    assert other["status"] == 409
    assert await bus.jobs() == [first["id"]]


async def test_a_message_without_an_id_is_a_job_once(bus: Bus) -> None:
    """Each is another one; where it is delivered again, nobody can tell whether it was a job already."""
    answers = [await bus.ask(JOB, key=None) for _ in range(2)]
    made = [answer["id"] for answer in answers]
    assert await bus.jobs() == made
    bus.running.cancel()
    await asyncio.wait({bus.running})
    await bus.say(JOB, key=None)
    async with bus.world.services.broker.consume(Address.JOBS) as consumer:
        [delivery] = await take(consumer, 1)
        await delivery.requeue()
    bus.running = asyncio.ensure_future(bus.intake.run())
    refused = await bus.answer()
    assert (refused["status"], refused["details"][0]["path"]) == (400, "message_id")
    assert await bus.jobs() == made


async def test_a_message_that_asks_for_no_answer_is_accepted_or_put_aside(bus: Bus) -> None:
    """What is refused without anybody to tell becomes a dead letter, without the key."""
    await bus.say(JOB, key="good", reply_to=None)
    await bus.say({"job": {"workflow": "none"}}, key="bad", reply_to=None)
    letter = await bus.dead()
    assert (letter.message_id, json.loads(letter.body)) == ("bad", {"job": {"workflow": "none"}})
    assert "unknown workflow 'none'" in letter.headers["x-reason"]
    assert letter.headers["api-key"] == "****"
    async with asyncio.timeout(10):
        while len(await bus.jobs()) < 1:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"{", "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b'{"a": 1, "a": 2}', "more than once"),
        (b"[" * 900 + b"]" * 900, "nested"),
        (b"\xff\xfe", "not UTF-8"),
        (json.dumps({**JOB, "v": 2}).encode(), "version 2 is not known"),
        (json.dumps({**JOB, "v": True}).encode(), "version True is not known"),
        (json.dumps({**JOB, "v": "1"}).encode(), "version '1' is not known"),
    ],
)
async def test_what_does_not_parse_is_put_aside_and_answered(bus: Bus, body: bytes, reason: str) -> None:
    """A dead letter with the reason, and the consumer lives on."""
    answer = await bus.ask(body)
    assert (answer["status"], reason in answer["error"]) == (400, True)
    letter = await bus.dead()
    assert letter.headers["x-reason"] == answer["error"]
    assert ADMIN_HEADERS["api-key"] not in str(letter)
    assert (await bus.ask(JOB, key="next"))["status"] == 200


async def test_secrets_of_a_dead_letter_are_masked(bus: Bus) -> None:
    """A content key does not lie about among the dead letters."""
    await bus.ask({**SEALED, "v": 9})
    letter = await bus.dead()
    assert json.loads(letter.body)["parameters"] == {"content_key": "****"}


async def test_a_message_larger_than_a_request_may_be_is_put_aside(tmp_path: Path) -> None:
    """The limit is the API's; of the message, the beginning is kept."""
    async with bus_world(tmp_path, limits=HttpLimits(body_bytes=100_000)) as bus:
        large = json.dumps({**JOB, "parameters": {"content_id": "x" * 200_000}}).encode()
        assert (await bus.ask(large)) == {"error": "The body is larger than 100000 bytes", "status": 400}
        assert len((await bus.dead()).body) == 64 * 1024


async def test_a_user_of_the_broker_stands_for_a_client(bus: Bus) -> None:
    """Without a key, where the broker vouches for the user; a key goes first, another client's name does not pass."""
    await bus.world.add_client("studio")
    answer = await bus.ask(JOB, key="a", headers={}, user_id="encoder")
    caller = Caller("studio", Role.SUBMITTER)
    assert (await bus.world.services.views.view(caller, answer["id"])).job.client == "studio"
    assert (await bus.ask(JOB, key="b", headers={"client": "studio"}, user_id="encoder"))["status"] == 200
    assert (await bus.ask(JOB, key="c", headers={"client": ADMIN}, user_id="encoder"))["status"] == 401
    assert (await bus.ask({**JOB, "client": ADMIN}, key="d", headers={}, user_id="encoder"))["status"] == 403
    assert (await bus.ask(JOB, key="e", headers={}, user_id="somebody"))["status"] == 401


async def test_a_user_whose_client_is_gone_is_refused(bus: Bus) -> None:
    """A mapping to a client that does not exist opens nothing."""
    assert (await bus.ask(JOB, headers={}, user_id="encoder"))["status"] == 401


async def test_who_may_only_look_may_not_submit(bus: Bus) -> None:
    """A viewer's message is refused as its call is."""
    name = await bus.world.add_client("looker", "viewer")
    credentials = {"client": name, "api-key": bus.world.keys[name]}
    assert (await bus.ask(JOB, headers=credentials))["status"] == 403


async def test_while_the_store_is_away_a_submission_waits_and_is_taken_then(bus: Bus) -> None:
    """It is neither answered nor lost; it is tried again and again."""
    await bus.ask(JOB, key="before")  # who may call is known by then
    bus.world.store.away = True
    await bus.say(JOB)
    for _ in range(3):
        await bus.world.clock.advance_to_next()
    assert len(await bus.jobs()) == 1
    bus.world.store.away = False
    await bus.world.clock.advance_to_next()
    assert (await bus.answer())["status"] == 200
    assert len(await bus.jobs()) == 2


async def test_submissions_that_wait_for_long_are_given_back(bus: Bus) -> None:
    """Before the broker closes the consumer over them; another engine may reach the store."""
    await bus.ask(JOB, key="before")
    bus.world.store.away = True
    await bus.say(JOB)
    async with asyncio.timeout(20):
        while not bus.running.done():
            await bus.world.clock.advance_to_next()
    with pytest.raises(StoreUnavailable, match="1 submissions were held for 900 s"):
        bus.running.result()
    async with bus.world.services.broker.consume(Address.JOBS) as consumer:
        [delivery] = await take(consumer, 1)
        assert (delivery.redelivered, delivery.message.message_id) == (True, "m1")


async def test_a_client_beyond_its_rate_keeps_nobody_else_waiting(bus: Bus) -> None:
    """Its messages wait for themselves; each is taken when the rate allows it."""
    name = await bus.world.add_client("eager", rate={"per_second": 0.5, "burst": 1})
    eager = {"client": name, "api-key": bus.world.keys[name]}
    for number in range(5):
        await bus.say(JOB, key=f"e{number}", headers=eager)
    assert (await bus.answer())["status"] == 200
    assert (await bus.ask(JOB, key="other"))["status"] == 200
    assert len(await bus.jobs()) == 2
    for _ in range(4):
        answer = asyncio.ensure_future(bus.answer())
        while not answer.done():
            moving = asyncio.ensure_future(bus.world.clock.advance_to_next())
            await asyncio.wait({answer, moving}, return_when=asyncio.FIRST_COMPLETED)
            moving.cancel()
        assert (await answer)["status"] == 200
    assert len(await bus.jobs()) == 6


@pytest.mark.parametrize("key", ["m1", None])
async def test_a_job_is_not_made_twice_where_its_answer_has_to_wait(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, key: str | None
) -> None:
    """The broker takes no answer at first: it is said later, of the same job."""
    real, left = bus.world.broker.port.publish, [2]

    async def publish(messages: Sequence[Outgoing]) -> None:
        if messages[0].address is Address.REPLY and left[0]:
            left[0] -= 1
            raise BrokerUnavailable("it is away")
        await real(messages)

    await bus.say(JOB, key=key)
    monkeypatch.setattr(bus.world.broker.port, "publish", publish)
    for _ in range(2):
        await bus.world.clock.advance_to_next()
    answer = await bus.answer()
    assert (answer["status"], await bus.jobs()) == (200, [answer["id"]])


async def test_a_fault_of_the_engine_is_tried_thrice_and_then_put_aside(bus: Bus) -> None:
    """A message at which the engine fails stops nobody else."""
    bus.world.store.broken = {"allocate"}
    await bus.say(JOB, key="poison")
    for _ in range(2):
        await bus.world.clock.advance_to_next()
    assert await bus.answer() == {"error": "Unable to create job request", "status": 500}
    assert (await bus.dead()).message_id == "poison"
    bus.world.store.broken = set()
    assert (await bus.ask(JOB, key="next"))["status"] == 200


async def test_many_submissions_are_in_hand_at_once(bus: Bus) -> None:
    """A hundred messages: a hundred jobs, each answered."""
    for number in range(100):
        await bus.say(JOB, key=f"m{number}")
    answers = [await bus.answer() for _ in range(100)]
    assert len({answer["id"] for answer in answers}) == 100
    assert sorted(answer["id"] for answer in answers) == await bus.jobs()


async def test_a_reply_queue_that_is_gone_is_no_fault_of_the_submission(bus: Bus) -> None:
    """The job is made all the same."""
    await bus.say(JOB, key="a", reply_to="gone")
    answer = await bus.ask(JOB, key="b")
    assert len(await bus.jobs()) == 2
    assert answer["status"] == 200
