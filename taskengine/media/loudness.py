"""EBU R128: what a track measures, and the one gain that brings it to a target. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from taskengine.media.profiles import Loudness

SILENT_LUFS = -70.0  # what is below the gate of the measurement
_RANGES = (1.0, 50.0)  # that the filter takes
_ROUNDED = 0.01  # so that what is rounded does not pass the peak, which would change the filter's ways


@dataclass(frozen=True, slots=True)
class Measured:
    """A track's loudness (LUFS), true peak (dBTP), range (LU) and the gate of its measurement (LUFS)."""

    integrated: float
    true_peak: float
    range: float
    threshold: float

    @property
    def silent(self) -> bool:
        """Whether there is nothing to make louder."""
        return not math.isfinite(self.integrated) or self.integrated <= SILENT_LUFS


def parse(text: str) -> Measured:
    """What the filter `loudnorm` wrote. Raises ValueError where that is no measurement."""
    try:
        found = json.loads(text[text.index("{") :])
        return Measured(*(float(found[f"input_{name}"]) for name in ("i", "tp", "lra", "thresh")))
    except (KeyError, TypeError) as error:
        raise ValueError(f"it has no {error}") from error


def reachable(target: Loudness, measured: Measured) -> float:
    """The loudness that one gain for the whole track reaches without passing the highest peak."""
    return min(target.integrated, measured.integrated + target.true_peak - measured.true_peak)


def options(target: Loudness, measured: Measured | None) -> str:
    """The options of `loudnorm`: measuring, or a linear gain. Its range never makes it work on the dynamics."""
    if measured is None:
        return f"I={target.integrated:g}:TP={target.true_peak:g}:print_format=json"
    low, high = _RANGES
    known = min(max(measured.range, 0.1), high)
    values = {
        "I": reachable(target, measured) - _ROUNDED, "TP": target.true_peak, "LRA": max(known, low),
        "measured_I": measured.integrated, "measured_TP": measured.true_peak, "measured_LRA": known,
        "measured_thresh": max(measured.threshold, SILENT_LUFS + _ROUNDED),
    }  # fmt: skip
    return ":".join(f"{name}={value:.2f}" for name, value in values.items()) + ":linear=true"
