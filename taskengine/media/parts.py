"""Which bytes of an MP4 file a part of its picture needs. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from taskengine.media.encoding import Chunk, VideoEncoding

FIRST = 8  # packets by which ffmpeg learns what a stream is
_BEFORE_S = 0.5  # a seek may aim so much earlier than it is told
_AHEAD = 96  # packets that ffmpeg may have read when it has all frames: queues, and a frame for each thread
_GAP = 64 * 1024  # bytes between two packets that are fetched along


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a file."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """How many."""
        return self.end - self.start


def times_of(video: VideoEncoding, chunk: Chunk, clock: float) -> tuple[float, float]:
    """From when to when (seconds of the file's clock, which begins at `clock`) a chunk's pictures are read."""
    begin = clock + video.begin + float(Fraction(chunk.first) / video.rate)
    end = begin + float(Fraction(chunk.frames + _AHEAD) / video.rate)
    return max(clock, begin - _BEFORE_S), end


def spans(lines: Iterable[str], size: int) -> Sequence[Span]:
    """Those of the packets that ffprobe names (`size,pos` each), in order, near ones together. ValueError where a line is
    none, or is not within the file."""
    found: list[Span] = []
    for start, end in sorted(_packet(line, size) for line in lines):
        if found and start - found[-1].end <= _GAP:
            found[-1] = Span(found[-1].start, max(found[-1].end, end))
        else:
            found.append(Span(start, end))
    return found


def _packet(line: str, size: int) -> tuple[int, int]:
    length, start = (int(word) for word in line.split(",")[:2])
    if start < 0 or length < 0 or start + length > size:
        raise ValueError(f"a packet of {length} bytes at {start} of {size}")
    return start, start + length
