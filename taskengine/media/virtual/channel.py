"""A channel's definition: where it is stored, and how a new programme follows what plays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import quote

from taskengine.media.names import file_stem
from taskengine.media.tracks import from_json, to_json
from taskengine.media.virtual.live import Schedule
from taskengine.media.virtual.model import Channel, Programme, Rendition, Run

FOLDER = "channels"  # of a client's default storage, below its output root
MASTER = "master.m3u8"
_DEFINITION = "channel.json"
MAX_BYTES = 64 * 1024 * 1024
SEEN_AFTER_S = 2.0  # all engines show a change by then


def channel_name(content_id: str) -> str:
    """What a channel is called in paths: its content id, where that can be a name, else one that is like it."""
    stem = file_stem(content_id)
    return stem if stem == content_id else f"{stem}-{hashlib.sha256(content_id.encode()).hexdigest()[:8]}"


def definition_path(name: str) -> str:
    """Where the definition of a channel is stored."""
    return f"{FOLDER}/{name}/{_DEFINITION}"


def folder_path(name: str) -> str:
    """Where all of a channel is stored."""
    return f"{FOLDER}/{name}"


def channel_url(public_url: str, client: str, content_id: str) -> str:
    """The URL of a channel's master playlist."""
    return f"{public_url.rstrip('/')}/{FOLDER}/{quote(client)}/{quote(channel_name(content_id))}/{MASTER}"


def dump(channel: Channel) -> bytes:
    """The definition as it is stored."""
    return to_json(channel, Channel)


def load(data: bytes) -> Channel:
    """Read it back; ValueError where it is none."""
    return from_json(data, Channel)


def begun(channel: Channel, runs: Sequence[Run], at: int, *, loops: bool) -> Channel:
    """A channel with a first programme."""
    return replace(channel, programmes=[Programme(at, runs, loops)])


def on_air(channel: Channel, now: int) -> Channel:
    """A channel whose only programme began so long before `now` that players find its first segments."""
    [programme] = channel.programmes
    opened = replace(channel, programmes=[replace(programme, starts_at=now)])
    early = Schedule(opened).begins_at() - now
    return replace(channel, programmes=[replace(programme, starts_at=now - early)])


def followed(
    former: Channel, channel: Channel, runs: Sequence[Run], now: int, *, at: int | None = None, loops: bool = True,
    restart: bool = True,
) -> Channel:  # fmt: skip
    """A channel with a new programme after what `former` plays: once its segment is whole, or with `restart` False at the
    end of its pass, or `at` a time. Numbers go on, so that players do; what has left the window is forgotten."""
    former = _seen_of(former, now)
    schedule = Schedule(former)
    if at is not None:
        sequence, discontinuity = schedule.numbers(max(at, now))
    else:
        at, sequence, discontinuity = schedule.after(now) if restart else schedule.seam(now)
    programme = Programme(at, runs, loops, sequence, discontinuity)
    stays = former.running and at >= now and same_renditions(former.renditions, channel.renditions)
    kept = [each for each in former.programmes if each.starts_at < at] if stays else []
    return replace(channel, programmes=[*_seen(kept, now, channel.dvr_window), programme])


def restarted(channel: Channel, now: int) -> Channel:
    """A channel that was stopped, from its first clip on."""
    sequence, discontinuity = Schedule(channel).numbers(now)
    last = channel.programmes[-1]
    programme = replace(last, sequence=sequence, discontinuity=discontinuity)
    return on_air(replace(channel, running=True, programmes=[programme]), now)


def same_renditions(one: Sequence[Rendition], other: Sequence[Rendition]) -> bool:
    """Whether playlists of one go on as those of the other."""
    return [(each.name, each.codecs) for each in one] == [(each.name, each.codecs) for each in other]


def _seen_of(channel: Channel, now: int) -> Channel:
    """Without the programmes that have not begun, unless it is the first."""
    first, *others = channel.programmes
    return replace(channel, programmes=[first, *(each for each in others if each.starts_at <= now)])


def _seen(programmes: Sequence[Programme], now: int, window: float) -> Sequence[Programme]:
    """Those that ended within twice the window, and the one that plays."""
    oldest = now - round(2 * max(window, 60.0) * 1000)
    ends = [each.starts_at for each in programmes[1:]]
    return [each for each, end in zip(programmes, [*ends, now], strict=True) if end >= oldest] if programmes else []
