"""The system's clock: the `Clock` port as it is outside of tests."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Wall-clock time and the event loop's timers."""

    def now(self) -> int:
        """UTC milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    async def sleep(self, seconds: float) -> None:
        """Wait for `seconds` (none where it is negative)."""
        await asyncio.sleep(max(0.0, seconds))
