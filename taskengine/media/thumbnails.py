"""Previews for the player's time line: sprite sheets and their WebVTT index; the time of the poster."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from taskengine.domain.errors import InputFault
from taskengine.media.ladder import even_size, fit_width

COLUMNS, ROWS = 10, 10
THUMBNAIL_WIDTH = 160
_TILE_COLUMNS, _TILE_ROWS = 5, 5
_SHEET_EDGE = 2560  # pixels that a sheet of trick-play tiles has at most, unless one tile is larger
_BEST_Q, _WORST_Q = 2, 31  # of ffmpeg's JPEG encoder


@dataclass(frozen=True, slots=True)
class Grid:
    """How previews lie on their sheets: `count` of them, one every `interval` seconds."""

    count: int
    interval: float
    columns: int
    rows: int
    width: int  # of one preview
    height: int
    duration: float  # of what they show

    @property
    def sheet_duration(self) -> float:
        """Seconds that a full sheet stands for."""
        return self.interval * self.columns * self.rows

    @property
    def sheets(self) -> int:
        """How many sheets they fill."""
        return math.ceil(self.count / (self.columns * self.rows))


def grid(size: tuple[int, int], duration: float, last_frame: float, interval: float) -> Grid:
    """The grid for a source of this display size; `last_frame` is the time of its last frame."""
    if not (math.isfinite(interval) and interval > 0):
        raise InputFault(f"preview_thumbnails_interval: {interval} is not a positive number of seconds")
    count = math.floor(max(0.0, last_frame) / interval + 1e-6) + 1
    columns = min(count, COLUMNS)
    rows = min(math.ceil(count / columns), ROWS)
    width, height = fit_width(size, THUMBNAIL_WIDTH)
    return Grid(count, interval, columns, rows, width, height, duration)


def tile_grid(size: tuple[int, int], duration: float, last_frame: float, interval: float, long_edge: int) -> Grid:
    """The grid of a trick-play thumbnail track; `long_edge` in pixels, 0 keeps the source's."""
    width, height = even_size(size) if long_edge == 0 else _within(size, long_edge)
    count = math.floor(max(0.0, last_frame) / interval + 1e-6) + 1
    columns = min(count, max(1, min(_TILE_COLUMNS, _SHEET_EDGE // width)))
    rows = min(math.ceil(count / columns), max(1, min(_TILE_ROWS, _SHEET_EDGE // height)))
    return Grid(count, interval, columns, rows, width, height, duration)


def _within(size: tuple[int, int], long_edge: int) -> tuple[int, int]:
    """An even size with this long edge, never above the source's."""
    return fit_width(size, max(2, round(size[0] * long_edge / max(size))))


def jpeg_q(quality: int) -> int:
    """ffmpeg's `-q:v` for a quality of 1 (least) to 100 (best)."""
    return round(_WORST_Q - (quality - 1) * (_WORST_Q - _BEST_Q) / 99)


def sheet_name(prefix: str, number: int) -> str:
    """The published name of a sheet, from 1."""
    return f"{prefix}_sprite.jpg" if number == 1 else f"{prefix}_sprite_{number}.jpg"


def webvtt(previews: Grid, prefix: str) -> str:
    """The WebVTT index of the sheets: a cue per preview, the last one up to the end."""
    per_sheet = previews.columns * previews.rows
    blocks = ["WEBVTT"]
    for index in range(previews.count):
        start = index * previews.interval
        end = previews.duration if index == previews.count - 1 else (index + 1) * previews.interval
        sheet, cell = divmod(index, per_sheet)
        row, column = divmod(cell, previews.columns)
        area = f"{column * previews.width},{row * previews.height},{previews.width},{previews.height}"
        name = quote(sheet_name(prefix, sheet + 1))
        blocks.append(f"{_time(start)} --> {_time(max(end, start))}\n{name}#xywh={area}")
    return "\n\n".join(blocks) + "\n"


def _time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def seconds_of(value: object, field: str) -> float:
    """A time position in seconds: a number of seconds, `m:ss.fff` or `hh:mm:ss.fff`. InputFault names `field`."""
    text = str(value)
    if isinstance(value, bool) or not re.fullmatch(r"(\d+:){0,2}\d+(\.\d+)?", text):
        raise InputFault(f"{field}: {value!r} is not a time: seconds, m:ss.fff or hh:mm:ss.fff")
    parts: Sequence[float] = [float(part) for part in text.split(":")]
    if any(part >= 60 for part in parts[1:]):
        raise InputFault(f"{field}: {value!r} is not a time: minutes and seconds are under 60")
    total = 0.0
    for part in parts:
        total = total * 60 + part
    return total
