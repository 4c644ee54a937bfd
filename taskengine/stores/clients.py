"""`ports.ClientStore` in units of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from taskengine.domain.errors import NotFound
from taskengine.ports import ApiKey, Client
from taskengine.stores import rows
from taskengine.stores.base import Units
from taskengine.stores.rows import Row
from taskengine.stores.session import Session


class ClientUnits(Units):
    """Keeps tenants, their keys and settings."""

    async def clients(self) -> Sequence[Client]:
        """See `ports.ClientStore.clients`: by name."""
        return [_client(row) for row in await self._read(lambda db: db.all("clients"))]

    async def client(self, name: str) -> Client | None:
        """See `ports.ClientStore.client`."""
        row = await self._read(lambda db: db.one("client", (name,)))
        return None if row is None else _client(row)

    async def save_client(self, client: Client) -> None:
        """See `ports.ClientStore.save_client`. The time of creation stays the first one."""
        values = (client.name, client.role, rows.dump(client.config), client.created_at)
        await self._write(lambda db: db.run("save_client", values))

    async def delete_client(self, name: str) -> bool:
        """See `ports.ClientStore.delete_client`. Its jobs stay."""
        return await self._write(partial(_delete, name=name))

    async def add_key(self, client: str, digest: str, now: int) -> int:
        """See `ports.ClientStore.add_key`. NotFound where there is no such client."""
        values = {"client": client, "digest": digest, "now": now}
        key_id: int | None = await self._write(lambda db: db.value("add_key", values))
        if key_id is None:
            raise NotFound(f"there is no client {client!r}")
        return key_id

    async def revoke_key(self, client: str, key_id: int, now: int) -> bool:
        """See `ports.ClientStore.revoke_key`. A key that was revoked keeps the time of it."""
        return await self._write(lambda db: db.run("revoke_key", (now, client, key_id))) > 0

    async def keys(self, client: str | None = None) -> Sequence[ApiKey]:
        """See `ports.ClientStore.keys`: revoked ones too."""
        found = await self._read(lambda db: db.all("keys_of_client", (client,)) if client else db.all("keys"))
        return [ApiKey(*row) for row in found]

    async def settings(self) -> Mapping[tuple[str, str], str]:
        """See `ports.ClientStore.settings`."""
        return {(scope, name): value for scope, name, value in await self._read(lambda db: db.all("settings"))}

    async def save_setting(self, scope: str, name: str, value: str) -> bool:
        """See `ports.ClientStore.save_setting`."""
        return await self._write(partial(_save_setting, scope=scope, name=name, value=value))


def _client(row: Row) -> Client:
    name, role, config, created_at = row
    return Client(name, role, rows.load(config), created_at)


async def _delete(db: Session, *, name: str) -> bool:
    there = await db.run("delete_client", (name,)) > 0
    if there:  # the scope of a name that is none is not a client's
        await db.run("delete_settings", (name,))
    return there


async def _save_setting(db: Session, *, scope: str, name: str, value: str) -> bool:
    new = await db.one("setting", (scope, name)) is None
    await db.run("save_setting", (scope, name, value))
    return new
