"""When the frames of a video track are: their number, their rate, whether it is constant. From packets, not from hopes."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

STANDARD_RATES = tuple(
    Fraction(text) for text in (
        "24000/1001", "24", "25", "30000/1001", "30", "48", "50", "60000/1001", "60", "10", "12", "25/2", "15", "20",
        "1", "5", "8", "6", "90", "100", "120000/1001", "120",
    )
)  # fmt: skip
MAX_RATE = Fraction(121, 2)
MAX_KEY_FRAMES = 20_000  # five hours of one per second
_KEPT = 0.25  # of the frames
_PLAUSIBLE = 2.5  # times the mean rate
_NEAR = 0.005
_BACK_S, _AHEAD_S = 0.1, 10.0  # ffmpeg takes more for a leap of the clock
_TOLERANCE_S = 0.0012  # containers that count milliseconds round to them


@dataclass(frozen=True, slots=True)
class Timing:
    """The frames of a video track; seconds. `rate` is the one to encode at: the track's own where it is `constant`."""

    packets: int  # in the file
    frames: int  # that are shown
    first: float
    last: float
    rate: Fraction
    constant: bool
    key_frames: Sequence[float] = ()  # as many as are kept, from `first`
    preroll: float = 0.0  # what an edit list leaves out before `first`
    open_gop: bool = False  # frames that come after a key frame are shown before it
    all_keys: bool = False  # whether `key_frames` has them all

    @property
    def duration(self) -> float:
        """From the first frame to the end of the last."""
        return self.last - self.first + float(1 / self.rate)


class _Leap(NamedTuple):
    """A leap of the clock: how many times and key frames are before it, and what is to be added to those after it."""

    times: int
    keys: int
    shift: float


def _joined(times: Sequence[float], leaps: Sequence[tuple[int, float]]) -> list[float]:
    found, shift, begin = [], 0.0, 0
    for end, more in [*leaps, (len(times), 0.0)]:
        found += [time + shift for time in times[begin:end]]
        begin, shift = end, shift + more
    return found


class PacketScan:
    """Takes ffprobe's lines `pts,dts,flags` one by one; where a container knows decoding times alone, they count."""

    def __init__(self) -> None:
        self.packets = 0
        self._times: array[float] = array("d")
        self._keys: array[float] = array("d")
        self._key_count = 0
        self._earliest = math.inf
        self._last_key = -math.inf
        self._open_gop = False
        self._decoded: float | None = None
        self._step = 0.0
        self._leaps: list[_Leap] = []

    def line(self, text: str) -> bool:
        """One line of `-show_entries packet=pts_time,dts_time,flags -of csv=p=0`."""
        fields = text.split(",")
        if len(fields) < 3:
            return False
        self.packets += 1
        try:
            time = float(fields[1] if fields[0] == "N/A" else fields[0])
        except ValueError:
            return True
        self._follow(fields[1])
        if not self._leaps:
            self._earliest = min(self._earliest, time)
        self._open_gop = self._open_gop or time < self._last_key
        if "K" in fields[2]:
            self._last_key = max(time, self._last_key)
        if "D" not in fields[2]:  # an edit list leaves these out
            self._times.append(time)
            if "K" in fields[2]:
                self._key_count += 1
                if len(self._keys) < MAX_KEY_FRAMES:
                    self._keys.append(time)
        return True

    def _follow(self, text: str) -> None:
        """Note where the clock of decoding leaps, as ffmpeg sees it."""
        if text == "N/A":
            return
        time = float(text)
        if self._decoded is not None:
            step = time - self._decoded
            if step < -_BACK_S or step > _AHEAD_S:
                self._leaps.append(_Leap(len(self._times), len(self._keys), self._step - step))
                self._last_key = -math.inf
            else:
                self._step = step
        self._decoded = time

    def span(self) -> tuple[float, float] | None:
        """The first and the last time; None where there are none."""
        return (min(self._times), max(self._times)) if self._times else None

    def timing(
        self, nominal: Fraction | None, average: Fraction | None, *, joined: bool = False
    ) -> Timing | None:  # fmt: skip
        """What the packets say; None where they carry no times. The rates are what the container says. `joined`: the clock
        may leap, and what comes then follows what was before, as ffmpeg has it: then the rate is not constant to the tick."""
        leaps = self._leaps if joined else []
        times = sorted(_joined(self._times, [(leap.times, leap.shift) for leap in leaps]))
        if not times:
            return None
        rate, constant = _rate(times, nominal, average)
        constant = constant and not leaps
        first = times[0]
        keyed = _joined(self._keys, [(leap.keys, leap.shift) for leap in leaps])
        keys = tuple(round(time - first, 6) for time in sorted(keyed))
        preroll = round(first - self._earliest, 6)
        return Timing(
            self.packets, len(times), first, times[-1], rate, constant, keys, preroll, self._open_gop,
            all_keys=len(keys) == self._key_count,
        )  # fmt: skip


def _rate(times: Sequence[float], nominal: Fraction | None, average: Fraction | None) -> tuple[Fraction, bool]:
    candidates = [rate for rate in (nominal, average, *STANDARD_RATES) if rate]
    for rate in candidates:
        if _uniform(times, rate):
            return rate, rate <= MAX_RATE or len(times) > 1
    return _normal_rate(times, nominal), False


def _uniform(times: Sequence[float], rate: Fraction) -> bool:
    """Whether each frame is where a constant rate puts it."""
    step, first = float(1 / rate), times[0]
    if abs((times[-1] - first) - (len(times) - 1) * step) > 2 * _TOLERANCE_S:
        return False
    return all(abs(time - first - index * step) <= 2 * _TOLERANCE_S for index, time in enumerate(times))


def _kept_rate(steps: Sequence[float]) -> Fraction | None:
    """The fastest usual rate that a quarter of the frames keep: bursts of motion between stills lose nothing.

    Times that only jitter keep none so often.
    """
    for rate in sorted((rate for rate in STANDARD_RATES if rate <= MAX_RATE), reverse=True):
        kept = [step for step in steps if abs(step - float(1 / rate)) <= _TOLERANCE_S]
        if len(kept) >= max(2, len(steps) * _KEPT):
            mean = sum(kept) / len(kept)
            return min(STANDARD_RATES, key=lambda usual: (round(abs(float(1 / usual) - mean), 5), usual.denominator))
    return None


def _normal_rate(times: Sequence[float], nominal: Fraction | None) -> Fraction:
    """The constant rate for frames that come as they like: the container's, where it is plausible, else a usual one."""
    span = times[-1] - times[0]
    mean = (len(times) - 1) / span if span > 0 else 25.0
    if nominal and 1 <= nominal <= MAX_RATE and nominal <= _PLAUSIBLE * mean:
        return nominal
    steps = sorted(after - before for before, after in pairwise(times) if after > before)
    if kept := _kept_rate(steps):
        return kept
    fast = 1 / steps[len(steps) // 10] if steps else mean  # what a tenth of the frames keep up
    wanted = fast if fast <= _PLAUSIBLE * mean else mean
    usual = [rate for rate in STANDARD_RATES if rate <= MAX_RATE]
    near = min(usual, key=lambda rate: abs(float(rate) / wanted - 1))
    if abs(float(near) / wanted - 1) < _NEAR:
        return near
    return min((rate for rate in usual if rate >= mean * (1 - _NEAR)), default=Fraction(60))
