"""The clients, their keys and settings, in memory: read from the store when they are older than a few seconds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from taskengine.domain.errors import InvalidRequest, SecretUnavailable, StoreUnavailable
from taskengine.domain.tenants import ClientConfig, Role, parse_client_config
from taskengine.engine.vault import Vault
from taskengine.ports import Client, ClientStore, Clock

log = structlog.get_logger(__name__)

FRESH_S = 2.0  # how long a key that another engine revoked may still be taken, at most
_APART_S = 0.1  # readings for what is not known: a flood of wrong keys costs the store no more


@dataclass(frozen=True, slots=True)
class Tenant:
    """A client with its configuration, judged."""

    client: Client
    role: Role
    config: ClientConfig


@dataclass(frozen=True, slots=True)
class Entries:
    """All that is known of clients, at one moment."""

    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)  # digest → client, of those that are not revoked
    settings: Mapping[tuple[str, str], str] = field(default_factory=dict)  # (client or "", name) → value

    def config(self, client: str) -> ClientConfig:
        """A client's configuration; the defaults for one that is not known."""
        tenant = self.tenants.get(client)
        return tenant.config if tenant else ClientConfig()


class Directory:
    """One reading of the store serves all requests of the next seconds; local changes are seen at once.

    While the store is away the last reading goes on: nothing can change then, and `/health` can still be asked.
    """

    def __init__(self, store: ClientStore, clock: Clock, vault: Vault, *, fresh_s: float = FRESH_S) -> None:
        self.vault = vault
        self._store, self._clock, self._fresh_s = store, clock, fresh_s
        self._entries: Entries | None = None
        self._read_at: int | None = None
        self._begun = -math.inf  # the last reading, by the clock of the event loop, s
        self._reading = asyncio.Lock()
        self._listeners: list[Callable[[], None]] = []

    @property
    def known(self) -> Entries:
        """What was read last, at once."""
        return self._entries or Entries()

    async def current(self) -> Entries:
        """What is true now, give or take `fresh_s`."""
        if not self._fresh():
            async with self._reading:
                if not self._fresh():  # another one has read it while this one waited
                    await self._read()
        return self.known

    async def latest(self) -> Entries:
        """What was true after the call: for who looks for what is not known here, and may have been made over another
        engine a moment ago. All who wait share a reading. Raises StoreUnavailable."""
        loop = asyncio.get_running_loop()
        called = loop.time()
        async with self._reading:
            if self._begun <= called:
                await asyncio.sleep(self._begun + _APART_S - loop.time())
                await self._read(must=True)
        return self.known

    async def reread(self) -> Entries:
        """What is true now: after a change of one's own."""
        self._read_at = None
        return await self.current()

    def on_change(self, listener: Callable[[], None]) -> None:
        """Have `listener` called whenever something has changed (here, or as seen in the store)."""
        self._listeners.append(listener)

    async def watch(self) -> None:
        """Keep what is known fresh, for those who ask from memory; for ever."""
        while True:
            await self.current()
            await self._clock.sleep(self._fresh_s)

    def _fresh(self) -> bool:
        return self._read_at is not None and abs(self._clock.now() - self._read_at) < self._fresh_s * 1000

    async def _read(self, *, must: bool = False) -> None:
        now, self._begun = self._clock.now(), asyncio.get_running_loop().time()
        try:
            clients, keys = await self._store.clients(), await self._store.keys()
            settings = await self._store.settings()
        except StoreUnavailable:
            if must or self._entries is None:
                raise
            self._read_at = now
            return
        entries = Entries(
            {client.name: _tenant(client, self.vault) for client in clients},
            {key.digest: key.client for key in keys if key.revoked_at is None},
            dict(settings),
        )
        changed, self._entries, self._read_at = entries != self._entries, entries, now
        if changed:
            for listener in self._listeners:
                listener()


def _tenant(client: Client, vault: Vault) -> Tenant:
    try:
        config = parse_client_config(vault.open(client.name, client.config))
    except (InvalidRequest, SecretUnavailable) as error:  # stored by another version, or under another key
        log.warning("client_config_ignored", client=client.name, error=str(error))
        config = ClientConfig()
    return Tenant(client, Role(client.role), config)
