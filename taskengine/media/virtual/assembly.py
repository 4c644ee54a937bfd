"""What was packaged here of a portion of a clip, as pieces of a virtual asset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from taskengine.media.tracks import Reference
from taskengine.media.virtual.model import Part, Pieces, Rendition, Run

EMPTY_TEXT = "no_text.vtt"  # what a text rendition has where a clip was made here
_URI = re.compile(r'\bURI="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Make:
    """A portion of a clip that is encoded here: seconds of the clip's time line; `files`: the clip's files, where it is no
    stream; `whole`: all of it, which is copied where it can be."""

    clip: int
    sources: Sequence[str]
    begin: float
    end: float
    files: Sequence[Reference] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Rung:
    """A track of the target profile. `codec` as ffmpeg calls it; bit/s. `profile` and `level` (41 is 4.1) of H.264, where the
    target's master tells them."""

    name: str
    codec: str
    bitrate: int
    width: int = 0
    height: int = 0
    frame_rate: str = ""  # a fraction; "" is the clip's own
    language: str = "und"
    channels: int = 2
    profile: str = ""
    level: int = 0


@dataclass(frozen=True, slots=True)
class Remix:
    """How an asset is put together. `items`: its runs in order; where `makes` has an entry of the same place, the run is made
    here and has no pieces. `duration` in seconds."""

    renditions: Sequence[Rendition]
    ladder: Sequence[Rung]
    runs: Sequence[Run]
    makes: Sequence[Make | None]
    duration: float
    copies: bool = False  # the target profile is that of files, which are copied where they can be
    notes: Sequence[str] = field(default_factory=tuple)


def folder_of(place: int) -> str:
    """Where what was made for a run lies in its set."""
    return f"clip_{place + 1}"


def made_pieces(text: str, folder: str) -> Pieces:
    """A media playlist that packager wrote, its segments below a folder."""
    uris: list[str] = []
    durations: list[float] = []
    inits: list[tuple[int, Part]] = []
    keys: list[tuple[int, Sequence[str]]] = []
    tags: list[str] = []
    for line in text.splitlines():
        if line.startswith("#EXT-X-MAP:") and (match := _URI.search(line)):
            inits.append((len(uris), Part(f"{folder}/{match[1]}")))
        elif line.startswith("#EXT-X-KEY:"):
            tags.append(line.partition(":")[2])
        elif line.startswith("#EXTINF:"):
            durations.append(float(line[8:].partition(",")[0]))
        elif line and not line.startswith("#"):
            if tags:
                keys.append((len(uris), tags))
                tags = []
            uris.append(line)
    return Pieces(f"{folder}/", uris, durations, inits=inits, keys=keys)


def empty_text(duration: float) -> Pieces:
    """Nothing to read, for so long."""
    return Pieces("", [EMPTY_TEXT], [duration])
