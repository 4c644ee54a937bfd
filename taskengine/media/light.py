"""The static metadata of HDR10: the display it was mastered on and how bright it gets. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from taskengine.media.probe import INPUT_LIMITS

_POINTS = ("green", "blue", "red", "white_point")
_NAMES = ("G", "B", "R", "WP")
_CHROMA, _LUMINANCE = 50_000, 10_000  # units of x265 and of the bitstream


@dataclass(frozen=True, slots=True)
class Light:
    """`display`: x and y of green, blue, red and white, then the most and the least cd/m²; `levels`: MaxCLL and MaxFALL."""

    display: Sequence[float] = ()
    levels: Sequence[int] = ()

    def of_x265(self) -> str:
        """As parameters of x265, each with a colon before it."""
        scales = [_CHROMA] * 8 + [_LUMINANCE] * 2
        values = [str(round(value * scale)) for value, scale in zip(self.display, scales, strict=bool(self.display))]
        return _parameters("master-display", values, "max-cll", self.levels)

    def of_svtav1(self) -> str:
        """As parameters of SVT-AV1, each with a colon before it."""
        return _parameters("mastering-display", [f"{value:g}" for value in self.display], "content-light", self.levels)


def _parameters(display: str, values: Sequence[str], content: str, levels: Sequence[int]) -> str:
    text = ""
    if values:
        pairs = [f"{name}({values[2 * index]},{values[2 * index + 1]})" for index, name in enumerate((*_NAMES, "L"))]
        text = f":{display}={''.join(pairs)}"
    return text + (f":{content}={levels[0]},{levels[1]}" if levels else "")


def light_argv(ffprobe: str, path: str) -> list[str]:
    """Ask for what comes along with the first frame."""
    first = ["-select_streams", "V:0", "-read_intervals", "%+#1", "-show_frames"]
    return [ffprobe, "-v", "error", *INPUT_LIMITS, *first, "-of", "json", path]


def parse_light(answer: bytes) -> Light | None:
    """ffprobe's answer; None where it tells of no light."""
    try:
        frames = json.loads(answer)["frames"]
        found = {entry["side_data_type"]: entry for entry in frames[0].get("side_data_list", ())}
        display = _display(found.get("Mastering display metadata", {}))
        levels = found.get("Content light level metadata", {})
        known = [int(levels["max_content"]), int(levels["max_average"])] if levels else []
    except (ValueError, KeyError, IndexError, TypeError, ZeroDivisionError):
        return None
    return Light(display, known) if display or known else None


def _display(entry: Mapping[str, Any]) -> Sequence[float]:
    if not entry:
        return []
    points = [entry[f"{point}_{axis}"] for point in _POINTS for axis in ("x", "y")]
    return [float(Fraction(value)) for value in (*points, entry["max_luminance"], entry["min_luminance"])]
