"""`GET /channels/…`: what channels show now, for players: they have no credentials, and are everywhere."""

from __future__ import annotations

from aiohttp import web

from taskengine.api.answers import ALWAYS, Answer
from taskengine.api.call import Call
from taskengine.api.faults import RETRY_AFTER_S
from taskengine.domain.errors import StorageError, StoreUnavailable
from taskengine.media.virtual.channel import MASTER
from taskengine.media.virtual.playlists import MEDIA_TYPE, master

_OPEN = {"Access-Control-Allow-Origin": "*"}


async def playlist(call: Call) -> Answer | web.StreamResponse:
    """A playlist of a channel as it is now: its master, or a rendition's."""
    known = call.services.channels
    client, name, file = call.name("client"), call.name("channel"), call.name("name")
    rendition, dot, extension = file.rpartition(".")
    if known is None or (dot, extension) != (".", "m3u8"):
        return _none("There is no such playlist")
    try:
        found = await known.known(client, name)
    except (StorageError, StoreUnavailable):
        return Answer({"error": "The channel cannot be read"}, 503, {**_OPEN, "Retry-After": str(RETRY_AFTER_S)})
    schedule, now = found.schedule, known.clock.now()
    if schedule is None:
        return _none("There is no such channel")
    if not schedule.channel.running:
        return _none("The channel is stopped")
    if now < (begins := schedule.begins_at()):
        return _none("The channel has not begun", wait=-(-(begins - now) // 1000))
    if file == MASTER:
        return _text(master(schedule.channel.renditions), schedule.target(schedule.reference))
    text = found.playlist(schedule, rendition, now) if rendition in schedule.names else None
    if text is None:
        return _none("There is no such playlist")
    return _text(text, schedule.target(rendition) if schedule.ended(now) else schedule.target(rendition) // 2)


def _text(text: str, fresh_s: int) -> web.Response:
    """`fresh_s`: how long a cache may keep it; of a live playlist half a target duration."""
    headers = {**ALWAYS, **_OPEN, "Cache-Control": f"public, max-age={max(1, fresh_s)}"}
    return web.Response(text=text, content_type=MEDIA_TYPE, charset="utf-8", headers=headers)


def _none(text: str, *, wait: int | None = None) -> Answer:
    """404; where there will be something, `wait` seconds on."""
    later = {} if wait is None else {"Retry-After": str(max(1, wait))}
    return Answer({"error": text}, 404, {**_OPEN, **later})
