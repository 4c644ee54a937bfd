"""Event streams: stored events and what happens, in order, from where a follower broke off."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from taskengine.domain.job import LogEntry
from taskengine.engine.submissions import Submission
from tests.support.engine import ADMIN, Bench, bench, settings_for
from tests.support.receiver import CallbackReceiver
from tests.support.stores import say

HEADERS = {"client": "demo", "api-key": "test-key"}


@dataclass(frozen=True, slots=True)
class Event:
    """One as a browser would have it."""

    kind: str
    id: str
    data: Mapping[str, Any]


class Stream:
    """A follower."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def next(self) -> Event | None:
        """The next event; None at the end."""
        fields: dict[str, str] = {}
        async for line in self.response.content:
            text = line.decode().rstrip("\n")
            if not text and "event" in fields:
                return Event(fields["event"], fields["id"], json.loads(fields["data"]))
            name, _, value = text.partition(": ")
            fields[name] = value
        return None

    async def rest(self) -> list[Event]:
        """All to the end."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
        return found

    async def until(self, kind: str, **data: Any) -> list[Event]:
        """All up to the one that has these data."""
        found = []
        while (event := await self.next()) is not None:
            found.append(event)
            if event.kind == kind and data.items() <= event.data.items():
                return found
        raise AssertionError(f"the stream ended before {kind} {data}")


@dataclass(slots=True)
class World:
    """An engine, and who follows it."""

    bench: Bench
    session: aiohttp.ClientSession

    @asynccontextmanager
    async def follow(self, path: str, last: str | None = None) -> AsyncIterator[Stream]:
        """A stream that is open."""
        headers = {"Last-Event-ID": last} if last else {}
        async with (
            asyncio.timeout(20),
            self.session.get(f"{self.bench.engine.url}{path}", headers=headers) as response,
        ):
            assert response.status == 200
            assert response.headers["Content-Type"] == "text/event-stream"
            stream = Stream(response)
            first = await stream.next()
            assert first is not None
            assert first.kind == "open"
            yield stream

    async def status(self, path: str, **headers: str) -> int:
        """Of a stream that is refused or has ended."""
        async with self.session.get(f"{self.bench.engine.url}{path}", headers=headers) as response:
            return response.status


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A whole engine."""
    async with (
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver, http=True) as made,
        aiohttp.ClientSession(headers=HEADERS) as session,
    ):
        yield World(made, session)


def story(events: list[Event]) -> list[tuple[str | None, str]]:
    """(task name, event) of the events of jobs and tasks."""
    return [
        (event.data["task_name"], event.data["event"]) for event in events if event.kind in {"job", "task"}
    ]  # fmt: skip


CHAIN = [
    (None, "queued"), (None, "started"), ("a", "start"), ("a", "complete"), ("b", "start"), ("b", "complete"),
    ("c", "start"), ("c", "complete"), (None, "completed"),
]  # fmt: skip


async def test_a_jobs_stream_tells_its_whole_story_and_ends(world: World) -> None:
    """Whether one follows it from its beginning or comes late; the log comes with it."""
    job_id = await world.bench.submit("chain")
    async with world.follow(f"/jobs/{job_id}/events") as stream:
        live = await stream.rest()
    assert story(live) == CHAIN
    assert [event.data["seq"] for event in live if event.kind in {"job", "task"}] == list(range(1, len(CHAIN) + 1))
    messages = [event.data["message"] for event in live if event.kind == "log"]
    assert "'a' completed successfully" in messages
    assert "job has completed successfully" in messages
    assert live[-1].data["data"]["status"] == "completed"
    async with world.session.get(f"{world.bench.engine.url}/jobs/{job_id}/events") as response:
        late = await Stream(response).rest()
    assert story(late) == CHAIN
    assert [event.data["message"] for event in late if event.kind == "log"][: len(messages)] == messages


async def test_a_follower_goes_on_where_it_broke_off(world: World) -> None:
    """Nothing is missing and nothing comes twice, whatever happened meanwhile; at the end there is 204."""
    job_id = await world.bench.submit("sleeps", 0.5)
    async with world.follow(f"/jobs/{job_id}/events") as stream:
        before = await stream.until("task", task_name="nap", event="start")
    await world.bench.ended(job_id)
    async with world.session.get(
        f"{world.bench.engine.url}/jobs/{job_id}/events", headers={"Last-Event-ID": before[-1].id}
    ) as response:
        after = await Stream(response).rest()
    assert story(before) + story(after) == [
        (None, "queued"), (None, "started"), ("nap", "start"), ("nap", "complete"), ("last", "start"),
        ("last", "complete"), (None, "completed"),
    ]  # fmt: skip
    logged = [event.data["id"] for event in [*before, *after] if event.kind == "log"]
    assert logged == sorted(set(logged))
    last = max(event.id for event in after)
    assert await world.status(f"/jobs/{job_id}/events", **{"Last-Event-ID": f"{last.split('-')[0]}-999999"}) == 204


async def test_all_jobs_are_followed_from_now_on_or_from_an_event(world: World) -> None:
    """In the order of their writing."""
    first = await world.bench.submit("chain")
    await world.bench.ended(first)
    async with world.follow("/events") as stream:
        second = await world.bench.submit("chain")
        told = await stream.until("job", job_id=second, event="completed")
    assert story(told) == CHAIN
    assert {event.data["job_id"] for event in told} == {second}
    async with world.follow("/events", last="1") as stream:
        again = await stream.until("job", job_id=second, event="completed")
    assert story(again) == [*CHAIN[1:], *CHAIN]


async def test_the_progress_of_a_running_job_is_told(world: World) -> None:
    """As often as it changes, at most once a second."""
    async with world.follow("/events") as stream:
        job_id = await world.bench.submit("sleeps", 2.5)
        told = await stream.until("job", job_id=job_id, event="completed")
    progress = [event.data["progress"] for event in told if event.kind == "progress"]
    assert progress == sorted(progress)
    assert any(0 < fraction < 1 for fraction in progress)


async def test_followers_see_their_own_jobs_alone(world: World) -> None:
    """And no stream of another's job."""
    made = await world.bench.engine.tenants.add_client("one", "submitter")
    own = {"client": "one", "api-key": made.api_key}
    job_id = await world.bench.submit("chain")
    await world.bench.ended(job_id)
    assert await world.status(f"/jobs/{job_id}/events", **own) == 404
    async with aiohttp.ClientSession(headers=own) as session:
        other = World(world.bench, session)
        async with other.follow("/events", last="1") as stream:
            await world.bench.ended(await world.bench.submit("chain"))
            body = {"job": {"workflow": "chain"}, "parameters": {"content_id": "c"}}
            async with session.post(f"{world.bench.engine.url}/job", json=body) as answer:
                mine = (await answer.json())["id"]
            told = await stream.until("job", job_id=mine, event="completed")
    assert {event.data["client"] for event in told if event.kind in {"job", "task"}} == {"one"}


async def test_an_admin_follows_one_client(world: World) -> None:
    """By `client=`, as in lists."""
    await world.bench.engine.tenants.add_client("one", "submitter")
    async with world.follow("/events?client=one") as stream:
        await world.bench.ended(await world.bench.submit("chain"))
        parameters = {"content_id": "c", "rest_endpoints": [f"{world.bench.receiver.url}/cb"]}
        answer = await world.bench.engine.jobs.submit(Submission("one", "chain", parameters))
        told = await stream.until("job", job_id=answer["id"], event="completed")
    assert {event.data["client"] for event in told if event.kind in {"job", "task"}} == {"one"}


async def test_what_is_no_stream_is_refused(world: World) -> None:
    """An id of another kind, a job that is none, nobody."""
    assert await world.status("/events", **{"Last-Event-ID": "abc"}) == 400
    assert await world.status("/jobs/999/events") == 404
    assert await world.status("/events", **{"api-key": "wrong"}) == 401
    made = await world.bench.engine.tenants.add_client("one", "submitter")
    assert await world.status("/events?client=demo", **{"client": "one", "api-key": made.api_key}) == 403


async def test_an_engine_that_ends_lets_its_followers_go(tmp_path: Path) -> None:
    """At once, not after the grace that requests have."""
    async with CallbackReceiver() as receiver, aiohttp.ClientSession(headers=HEADERS) as session:
        async with bench(settings_for(tmp_path), receiver, http=True) as made:
            response = await session.get(f"{made.engine.url}/events")
            stream = Stream(response)
            await stream.next()
        async with asyncio.timeout(5):
            assert await stream.next() is None


async def test_without_events_there_is_no_stream(tmp_path: Path) -> None:
    """Where they are switched off."""
    async with (
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path, **{"bus.events": False}), receiver, http=True) as made,
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.get(f"{made.engine.url}/events") as response,
    ):
        assert (response.status, "bus.events" in (await response.json())["error"]) == (409, True)


async def test_a_reader_that_stops_reading_is_let_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is closed and its place is another's."""
    monkeypatch.setattr("taskengine.api.events._SEND_S", 1.0)
    monkeypatch.setattr("taskengine.engine.feed.MAX_FOLLOWERS", 1)
    job_id = await world.bench.submit("sleeps", 60)
    entries = [LogEntry(1, "worker", "x" * 16_000, 1)] * 100
    for _ in range(8):
        await world.bench.engine.store.decide([job_id], lambda snapshot: say(snapshot, *entries))
    path = f"/jobs/{job_id}/events"
    async with asyncio.timeout(30):
        writer = await _mute(URL(str(world.bench.engine.url)), path)
        assert await world.status("/events") == 503
        while await world.status("/events") == 503:
            pass
        writer.close()
    await world.bench.engine.jobs.remove(ADMIN, job_id)  # else the engine would wait for it at its end


async def _mute(url: URL, path: str) -> asyncio.StreamWriter:
    """A follower that reads the first line of the answer, and nothing more."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, (url.host, url.port))
    reader, writer = await asyncio.open_connection(sock=sock, limit=1024)
    head = "".join(f"{name}: {value}\r\n" for name, value in {"Host": "x", **HEADERS}.items())
    writer.write(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    return writer
