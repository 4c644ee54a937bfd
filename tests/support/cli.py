"""Calling the command line within the test's process, and an engine that says what a test wants it to say."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from taskengine.cli.commands import taskengine
from taskengine.cli.outcome import run

Answer = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """What it printed, as one JSON document a line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Cli:
    """`taskengine`, called with arguments."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Outcome:
        """Run a command to its end."""
        self._capsys.readouterr()
        code = run(lambda: taskengine.main(list(arguments), prog_name="taskengine", standalone_mode=False))
        printed = self._capsys.readouterr()
        return Outcome(int(code), printed.out, printed.err)


@dataclass(frozen=True, slots=True)
class Request:
    """What the engine was asked."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any


@dataclass(slots=True)
class FakeEngine:
    """Gives the answers of a list per call, the last one for ever; whatever it was not told is 404."""

    url: str = ""
    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    paged: set[str] = field(default_factory=set)
    requests: list[Request] = field(default_factory=list)

    def says(self, method: str, path: str, *answers: Any, status: int = 200) -> None:
        """What is answered to a call."""
        self.answers[method, path] = [(status, answer) for answer in answers]

    def pages(self, path: str, *pages: Sequence[Mapping[str, Any]]) -> None:
        """What a list has: each page leads to the next."""
        self.paged.add(path)
        self.says("GET", path, *pages)

    async def answer(self, request: web.Request) -> web.Response:
        """One call."""
        text = await request.text()
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = json.loads(text) if text else None
        self.requests.append(Request(request.method, request.path, dict(request.query), headers, body))
        answers = self.answers.get((request.method, request.path))
        if answers is None:
            return web.json_response({"error": f"there is no {request.path}"}, status=404)
        more = len(answers) > 1
        status, answer = answers.pop(0) if more else answers[0]
        if isinstance(answer, str):
            return web.Response(text=answer, content_type="text/html", status=status)
        links = {}
        if more and request.path in self.paged:
            following = request.url.update_query(after_id=answer[-1]["id"])
            links = {"Link": f'<{following}>; rel="next"'}
        return web.json_response(answer, status=status, headers=links)

    def bodies(self, method: str, path: str) -> Sequence[Any]:
        """The bodies of the calls that were made."""
        return [request.body for request in self.requests if (request.method, request.path) == (method, path)]


@contextmanager
def fake_engine() -> Iterator[FakeEngine]:
    """The engine, listening on a thread of its own: the command under test has the main one."""
    engine = FakeEngine()
    with _background(engine.answer) as url:
        engine.url = url
        yield engine


@contextmanager
def _background(handler: Callable[[web.Request], Any]) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None)

    async def start() -> str:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
