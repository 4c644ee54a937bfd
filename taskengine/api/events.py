"""Event streams: what happens to jobs, as server-sent events that go on where they broke off."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import orjson
import structlog
from aiohttp import web
from aiohttp_sse import EventSourceResponse

from taskengine.api.answers import ALWAYS
from taskengine.api.call import Call
from taskengine.api.faults import invalid
from taskengine.api.views import log_object, moment
from taskengine.domain.errors import Conflict, Fault, StoreUnavailable
from taskengine.engine.feed import Cursor, Feed, Happening, Scope

log = structlog.get_logger(__name__)

_LAST = re.compile(r"([0-9]{1,18})(?:-([0-9]{1,18}))?")
_RETRY_MS = 2000  # that a client waits before it comes back
_PING_S = 15.0
_SEND_S = 30.0  # for a reader to take what was sent: one that reads no more must not be kept for ever
_ENDS = frozenset({"completed", "failed", "broken"})


async def stream(call: Call) -> web.StreamResponse:
    """What happens to the caller's jobs (an admin's and an operator's: to all), as server-sent events."""
    return await _streamed(call, Scope(client=call.scope()), _since(call))


async def stream_of_job(call: Call) -> web.StreamResponse:
    """What has happened to a job and what happens, with its log, as server-sent events, to its end."""
    job_id = call.id("job")
    job = (await call.services.views.view(call.caller, job_id)).job
    return await _streamed(call, Scope(job_id=job_id), _since(call) or Cursor(), live=not job.ended)


def _since(call: Call) -> Cursor | None:
    text = call.request.headers.get("Last-Event-ID", "").strip()
    if not text:
        return None
    match = _LAST.fullmatch(text)
    if match is None:
        raise invalid(Fault("Last-Event-ID", "must be an id of this stream"))
    return Cursor(int(match[1]), int(match[2] or 0))


async def _streamed(call: Call, scope: Scope, since: Cursor | None, *, live: bool = True) -> web.StreamResponse:
    """Nothing more to come is 204: at that a browser stops coming back."""
    feed = call.services.feed
    if feed is None:
        raise Conflict("There are no events: bus.events is switched off")
    response = EventSourceResponse(headers=ALWAYS, ping_interval=_PING_S, sep="\n")
    if call.request.method == "HEAD":
        return web.Response(headers={**ALWAYS, "Content-Type": "text/event-stream"})
    async with aclosing(_following(feed, scope, since, live=live)) as happenings:
        first = await anext(happenings, None)  # a fault of the store is an answer as long as nothing was sent
        if first is None:
            return web.Response(status=204, headers=ALWAYS)
        await response.prepare(call.request)
        try:
            async with response:
                await _send(response, scope, first, retry=_RETRY_MS)
                async for happening in happenings:
                    await _send(response, scope, happening)
        except (ConnectionResetError, TimeoutError, StoreUnavailable) as error:
            log.debug("stream_broke_off", error=repr(error))
            if call.request.transport is not None:
                call.request.transport.abort()  # what it did not read must not be waited for again
        except Exception:  # there is an answer already: the follower comes back
            log.exception("stream_failed")
    return response


async def _send(response: EventSourceResponse, scope: Scope, happening: Happening, retry: int | None = None) -> None:
    """One event; TimeoutError where the reader does not take it."""
    async with asyncio.timeout(_SEND_S):
        await response.send(_data(happening), id=_id(scope, happening.cursor), event=happening.kind, retry=retry)


async def _following(feed: Feed, scope: Scope, since: Cursor | None, *, live: bool) -> AsyncGenerator[Happening, None]:
    """As `Feed.follow`; of a job, to its end."""
    async with aclosing(feed.follow(scope, since, live=live)) as happenings:
        async for happening in happenings:
            yield happening
            if live and scope.job_id is not None and happening.kind == "job" and happening.data["name"] in _ENDS:
                return


def _id(scope: Scope, cursor: Cursor) -> str:
    return str(cursor.event) if scope.job_id is None else f"{cursor.event}-{cursor.log}"


def _data(happening: Happening) -> str:
    return orjson.dumps(_shown(happening)).decode()


def _shown(happening: Happening) -> Mapping[str, Any]:
    data = happening.data
    if happening.kind == "open":
        return data
    if happening.kind == "log":
        return log_object(data)
    if happening.kind == "progress":
        return {"job_id": happening.job_id, **data}
    return {
        **{name: data[name] for name in ("job_id", "task_id", "client", "workflow", "task_name", "seq")},
        "event": data["name"],
        "at": moment(data["at"]),
        "data": data["body"],
    }
