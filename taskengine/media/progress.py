"""What `ffmpeg -progress pipe:1` says, as fraction, speed and time left."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction


class EncodeProgress:
    """Takes the lines one by one. Frames count where there is video: `out_time` is no help beside image outputs."""

    def __init__(
        self, *, frames: int | None, rate: Fraction | None, duration: float, clock: Callable[[], float],
        before: float = 0.0, share: float = 1.0,
    ) -> None:  # fmt: skip
        """`before` and `share`: how much of the work was done before, and how much of it this is."""
        self.ended = False
        self._frames = frames
        self._rate = rate
        self._duration = duration
        self._clock = clock
        self._begun = clock()
        self._done = 0.0  # seconds of media
        self._before, self._share = before, share

    def line(self, text: str) -> bool:
        """Take one line; whether it showed progress."""
        name, _, value = text.partition("=")
        if name == "progress":
            self.ended = value.strip() == "end"
            return self.ended
        done = self._seconds(name, value.strip())
        if done is None or done <= self._done:
            return False
        self._done = done
        return True

    def _seconds(self, name: str, value: str) -> float | None:
        try:
            if self._frames is not None and self._rate:
                return float(int(value) / self._rate) if name == "frame" else None
            return int(value) / 1e6 if name == "out_time_us" else None
        except ValueError:  # N/A at the beginning
            return None

    @property
    def fraction(self) -> float:
        """0–1, of all the work."""
        return self._before + self._share * (min(1.0, self._done / self._duration) if self._duration > 0 else 0.0)

    @property
    def speed(self) -> float | None:
        """Media seconds per second; None where nothing was done yet."""
        elapsed = self._clock() - self._begun
        return self._done / elapsed if elapsed > 0 and self._done > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Seconds that are left at this speed."""
        speed = self.speed
        return max(0.0, self._duration - self._done) / speed if speed else None
