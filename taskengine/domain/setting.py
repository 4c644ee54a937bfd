"""The settings that clients and admins change while the engine runs: names, domains and meaning."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

Number = int | float


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `per_client`: each client may have a value of its own."""

    name: str
    description: str
    low: Number
    high: Number
    default: Number
    whole: bool = True
    per_client: bool = True

    def parse(self, value: object) -> Number:
        """The value as a number; ValueError with what is wrong of it. It may come as a decimal text."""
        number = _number(value)
        if number is None or (self.whole and number != int(number)):
            kind = "a whole number" if self.whole else "a number"
            raise ValueError(f"{self.name} must be {kind} from {self.low} to {self.high}")
        if not self.low <= number <= self.high:
            raise ValueError(f"{self.name} must be from {self.low} to {self.high}, not {number}")
        return int(number) if number == int(number) else number


def _number(value: object) -> Number | None:
    """The number that a JSON value stands for; None where it stands for none."""
    if isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"[+-]?\d{1,15}", text, re.ASCII):
            return int(text)
        return float(text) if re.fullmatch(r"[+-]?\d{1,15}\.\d{1,15}", text, re.ASCII) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


SETTINGS: Mapping[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("max_jobs", "jobs started at one time, per client and over all, whichever is less", 0, 100_000, 2),
        Setting("priority_slots", "of those, slots kept for priority jobs; never more than max_jobs", 0, 100_000, 0),
        Setting("priority_threshold", "a job with priority ≤ this may use the reserved slots", 1, 10, 5),
        Setting(
            "schedule_interval", "seconds between the scheduler's looks", 0.1, 86_400, 60, whole=False, per_client=False
        ),
        Setting("retry_delay", "seconds before a failed task is tried again", 0, 86_400, 5, whole=False),
        Setting("retry_limit", "tries after the first before the job is given up", 0, 1000, 3),
        Setting("retention_days", "days that ended jobs are kept", 0, 36_500, 30, whole=False, per_client=False),
    )
}
