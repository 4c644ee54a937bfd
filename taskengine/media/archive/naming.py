"""Where shared segments lie below an output root. The same segment of an archive gets the same name in every job.

`segments/<capture id>/<protection>/<track>/<clock>/<begin>.m4s`: the track is known by its init segment, the clock by the time
of day at which it was zero (a packager that is started again may count from zero again), the segment by when it begins.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from taskengine.media.archive.model import SHARED
from taskengine.media.tracks import Track, TrackKind

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CLOCK = re.compile(r"(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z")
_DRIFT_S = 2.0  # by which packagers round and correct the time of day


def base_of(capture_id: str) -> str:
    """The folder of an archive's shared segments."""
    return f"{SHARED}/{capture_id}"


def short_digest(*parts: bytes) -> str:
    """Eight hex digits that stand for these bytes."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:8]


def track_folder(track: Track, origin: str, init: bytes) -> str:
    """The folder of a track. `origin`: where its init segment lies in the archive, which tells tracks apart that are
    described alike."""
    what = f"{track.width}x{track.height}" if track.kind is TrackKind.VIDEO else track.language
    return f"{track.kind.value}-{what}-{short_digest(origin.encode(), init)}"


def clock_folder(at: int, begin: float, there: Iterable[str]) -> str:
    """The folder of a clock that is at `begin` seconds at `at` (UTC ms): one of those that are there, where it is the same
    but for rounding."""
    zero = _EPOCH + timedelta(seconds=round(at / 1000 - begin))
    near = [(abs(found - zero), name) for name in there if (found := _zero(name)) is not None]
    least = min(near, default=None)
    if least is not None and least[0] <= timedelta(seconds=_DRIFT_S):
        return least[1]
    return f"{zero:%Y%m%dT%H%M%SZ}" if zero.year >= 1000 else f"{zero.year:04d}{zero:%m%dT%H%M%SZ}"


def _zero(name: str) -> datetime | None:
    match = _CLOCK.fullmatch(name)
    try:
        return datetime(*(int(part) for part in match.groups()), tzinfo=UTC) if match else None  # type: ignore[misc,arg-type]
    except ValueError:
        return None


def upwards(folder: str, below: int) -> str:
    """The relative reference from a manifest `below` folders below `folder` to the root that this lies in."""
    return "../" * (len([part for part in folder.split("/") if part]) + below)


def folders_named(paths: Sequence[str]) -> Sequence[str]:
    """The folders of these files, each once, with a slash after them."""
    return list(dict.fromkeys(f"{path.rpartition('/')[0]}/" for path in paths))
