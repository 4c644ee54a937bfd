"""The recurring duties of engines, by their published names, and whether they are switched on."""

from __future__ import annotations

from collections.abc import Callable

from taskengine.domain.errors import Fault, InvalidRequest
from taskengine.domain.words import nearest
from taskengine.engine.directory import Directory
from taskengine.ports import ClientStore, Clock

DUTIES = ("queue_scheduled_jobs", "sweep_leases", "deliver_callbacks", "clean_up", "clean_workspaces")
_SYSTEM, _OFF, _ON = "", "off", "on"

Gate = Callable[[], bool]
"""Whether a duty may be done now; that it is done is noted."""


def always() -> bool:
    """The gate of what nobody switches."""
    return True


class Duties:
    """The switches lie in the store, as settings of the system: every engine sees them within seconds."""

    def __init__(self, store: ClientStore, directory: Directory, clock: Clock) -> None:
        self._store, self._directory, self._clock = store, directory, clock
        self._last: dict[str, int] = {}

    def active(self, name: str) -> bool:
        """Whether a duty is switched on, as far as is known."""
        return self._directory.known.settings.get((_SYSTEM, _key(name))) != _OFF

    def last_run(self, name: str) -> int | None:
        """When this engine did it last, in UTC ms."""
        return self._last.get(name)

    def gate(self, name: str) -> Gate:
        """What whoever does the duty asks before it does."""

        def may() -> bool:
            if not self.active(name):
                return False
            self._last[name] = self._clock.now()
            return True

        return may

    async def switch(self, name: str, *, active: bool) -> None:
        """Switch a duty on or off, for every engine. InvalidRequest where there is none of that name."""
        if name not in DUTIES:
            text = f"there is no schedule {name[:100]!r}{nearest(name[:100], DUTIES)}"
            raise InvalidRequest(f"/schedule: {text}", [Fault("/schedule", text)])
        await self._store.save_setting(_SYSTEM, _key(name), _ON if active else _OFF)
        await self._directory.reread()


def _key(name: str) -> str:
    return f"duty:{name}"
