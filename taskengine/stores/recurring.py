"""`ports.RecurringStore` in units of work."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from taskengine.domain.errors import NotFound
from taskengine.ports import Recurring
from taskengine.stores import rows
from taskengine.stores.base import Units
from taskengine.stores.session import Session


class RecurringUnits(Units):
    """Reads and writes the schedules of clients."""

    async def recurring(self) -> Sequence[Recurring]:
        """See `ports.RecurringStore.recurring`."""
        found = await self._read(lambda db: db.all("recurring"))
        return [
            Recurring(client, name, cron, zone, rows.load(body), bool(active), *rest)
            for client, name, cron, zone, body, active, *rest in found
        ]

    async def save_recurring(self, recurring: Recurring) -> bool:
        """See `ports.RecurringStore.save_recurring`."""
        return await self._write(partial(_save, recurring=recurring))

    async def switch_recurring(self, client: str, name: str, *, active: bool, next_at: int | None) -> bool:
        """See `ports.RecurringStore.switch_recurring`."""
        return await self._write(lambda db: db.run("switch_recurring", (active, next_at, client, name))) > 0

    async def move_recurring(self, was: Recurring, now: Recurring) -> bool:
        """See `ports.RecurringStore.move_recurring`."""
        values = {
            "client": was.client,
            "name": was.name,
            "was": was.next_at,
            "next_at": now.next_at,
            "last_at": now.last_at,
            "last_job_id": now.last_job_id,
            "last_error": now.last_error,
        }
        return await self._write(lambda db: db.run("move_recurring", values)) > 0

    async def delete_recurring(self, client: str, name: str) -> bool:
        """See `ports.RecurringStore.delete_recurring`."""
        return await self._write(lambda db: db.run("delete_recurring", (client, name))) > 0


async def _save(db: Session, *, recurring: Recurring) -> bool:
    new = await db.one("is_recurring", (recurring.client, recurring.name)) is None
    values = {
        "client": recurring.client,
        "name": recurring.name,
        "cron": recurring.cron,
        "time_zone": recurring.time_zone,
        "body": rows.dump(recurring.body),
        "active": recurring.active,
        "next_at": recurring.next_at,
        "created_at": recurring.created_at,
    }
    if not await db.run("save_recurring", values):
        raise NotFound(f"there is no client {recurring.client!r}")
    return new
