"""Files of workflows and profiles that change while the engine runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog

from taskengine.domain.errors import Fault
from taskengine.ports import Clock

log = structlog.get_logger(__name__)

LOOK_S = 2.0


class Reloading(Protocol):
    """What is looked at: the catalog of workflows, the profiles."""

    @property
    def faults(self) -> Sequence[Fault]:
        """What is wrong with the files; their last good versions are still used."""
        ...

    async def reload(self) -> Sequence[Fault]:
        """Read what changed; the faults that there are now."""
        ...


class FileWatch:
    """Has changed files read, and tells of each fault once. Jobs that have begun keep the version that they began with."""

    def __init__(self, watched: Mapping[str, Reloading], clock: Clock) -> None:
        """`watched`: what there is, by the word that the log has for it."""
        self._watched, self._clock = watched, clock
        self._told: dict[str, set[Fault]] = {kind: set() for kind in watched}

    def tell(self) -> None:
        """Log the faults that are new, and that there are none any more."""
        for kind, files in self._watched.items():
            faulty, mended = f"{kind}_fault", f"{kind}s_mended"
            told = self._told[kind]
            for fault in files.faults:
                if fault not in told:
                    log.error(faulty, where=fault.path, fault=fault.message)
            if told and not files.faults:
                log.info(mended)
            self._told[kind] = set(files.faults)

    async def run(self) -> None:
        """Look every other second; a look at files that did not change reads none."""
        while True:
            await self._clock.sleep(LOOK_S)
            for files in self._watched.values():
                await files.reload()
            self.tell()
