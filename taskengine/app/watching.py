"""Workflow files that change while the engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import structlog

from taskengine.domain.errors import Fault
from taskengine.ports import Clock

log = structlog.get_logger(__name__)

LOOK_S = 2.0


class Reloading(Protocol):
    """What is looked at: the catalog of workflows."""

    @property
    def faults(self) -> Sequence[Fault]:
        """What is wrong with the files; their last good versions are still used."""
        ...

    async def reload(self) -> Sequence[Fault]:
        """Read what changed; the faults that there are now."""
        ...


class WorkflowWatch:
    """Has changed files read, and tells of each fault once. Jobs that have begun keep the version that they began with."""

    def __init__(self, catalog: Reloading, clock: Clock) -> None:
        self._catalog, self._clock = catalog, clock
        self._told: set[Fault] = set()

    def tell(self) -> None:
        """Log the faults that are new, and that there are none any more."""
        faults = self._catalog.faults
        for fault in faults:
            if fault not in self._told:
                log.error("workflow_fault", where=fault.path, fault=fault.message)
        if self._told and not faults:
            log.info("workflows_mended")
        self._told = set(faults)

    async def run(self) -> None:
        """Look every other second; a look at files that did not change reads none."""
        while True:
            await self._clock.sleep(LOOK_S)
            await self._catalog.reload()
            self.tell()
