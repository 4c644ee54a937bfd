"""Where the engine's loops tell what they did, for whoever counts it."""

from __future__ import annotations


class NoMeter:
    """Counts nothing; conforms to `ports.Meter`."""

    def attempt(self, handler: str, outcome: str, seconds: float) -> None:
        """Nothing."""

    def delivery(self, state: str, seconds: float) -> None:
        """Nothing."""
