"""Clients and their keys: who calls, and who may."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taskengine.domain.errors import Conflict, Fault, InvalidRequest, NotFound, SecretUnavailable, Unauthorized
from taskengine.domain.tenants import (
    CLIENT_NAME,
    CLIENT_NAME_RULE,
    Caller,
    ClientConfig,
    Role,
    parse_client_config,
)
from taskengine.engine.directory import Directory, Entries
from taskengine.ports import ApiKey, Client, ClientStore, Clock, Evaluator

_KEY_BYTES = 32
_SIGNING = "callback_secrets"
_WRONG = "The client or its api-key is missing or wrong"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as it is shown once; with a client's first key, the secret that was made up to sign its callbacks."""

    id: int
    api_key: str
    callback_secret: str | None = None


@dataclass(frozen=True, slots=True)
class TenantView:
    """A client with its keys (their digests stay inside)."""

    client: Client
    keys: Sequence[ApiKey]


def key_digest(key: str) -> str:
    """What is stored of a key. Keys are random: a fast digest is enough."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class Tenants:
    """The use cases of clients and keys."""

    def __init__(
        self, store: ClientStore, clock: Clock, directory: Directory, evaluator: Evaluator | None = None
    ) -> None:
        self._store, self._clock, self._directory = store, clock, directory
        self._evaluator = evaluator  # judges templates; None where no configuration is written
        self._vault = directory.vault

    # ----------------------------------------------------------------------------------------------------------- who

    async def authenticate(self, client: str | None, key: str | None) -> Caller:
        """The caller with these credentials; Unauthorized, after the same work and in the same words for an unknown
        client as for a wrong key."""
        if client and key:
            for entries in (self._directory.current, self._directory.latest):
                if (caller := _caller(await entries(), client, key)) is not None:
                    return caller
        raise Unauthorized(_WRONG)

    async def known(self, client: str) -> Caller:
        """The caller that a client is which was recognised by other means than a key; Unauthorized where there is none."""
        for entries in (self._directory.current, self._directory.latest):
            if (tenant := (await entries()).tenants.get(client)) is not None:
                return Caller(client, tenant.role)
        raise Unauthorized(_WRONG)

    async def config(self, client: str) -> ClientConfig:
        """A client's configuration; the defaults for one that is not known."""
        return (await self._directory.current()).config(client)

    @property
    def unauthorized_result(self) -> bool:
        """Whether a 401 carries `result`: for all or for none, so that it does not tell which clients there are."""
        return any(tenant.config.unauthorized_result for tenant in self._directory.known.tenants.values())

    # ------------------------------------------------------------------------------------------------------- clients

    async def clients(self) -> Sequence[TenantView]:
        """All clients with their keys, by name."""
        keys = await self._store.keys()
        clients = sorted(map(self._shown, await self._store.clients()), key=lambda client: client.name)
        return [TenantView(client, [key for key in keys if key.client == client.name]) for client in clients]

    async def add_client(
        self, name: str, role: str = Role.SUBMITTER, config: Mapping[str, Any] | None = None
    ) -> NewKey:
        """Make a client, its first key and, unless the configuration has one, a secret that signs its callbacks.

        Conflict where it is there already.
        """
        self._judge(name, role, config or {})
        if await self._store.client(name) is not None:
            raise Conflict(f"the client {name!r} exists already")
        return await self._make(name, role, config or {})

    async def change_client(self, name: str, role: str | None, config: Mapping[str, Any] | None) -> None:
        """Give a client another role or configuration (None: as it is). A configuration without `callback_secrets`
        leaves those that there are."""
        client = await self._client(name)
        self._judge(name, role or client.role, config or {})
        signing = {_SIGNING: client.config[_SIGNING]} if _SIGNING in client.config else {}
        kept = client.config if config is None else signing | self._vault.config(name, config)
        changed = Client(name, role or client.role, kept, client.created_at)
        if changed.role != Role.ADMIN:
            await self._keep_an_admin(without=name)
        await self._store.save_client(changed)
        await self._directory.reread()

    async def remove_client(self, name: str) -> None:
        """Remove a client with its keys and settings; its jobs stay."""
        await self._client(name)
        await self._keep_an_admin(without=name)
        await self._store.delete_client(name)
        await self._directory.reread()

    async def callback_secrets(self, name: str) -> Sequence[str]:
        """What signs a client's callbacks. NotFound, SecretUnavailable."""
        client = await self._client(name)
        return parse_client_config(self._vault.open(name, client.config)).callback_secrets

    async def _make(self, name: str, role: str, config: Mapping[str, Any], key: str | None = None) -> NewKey:
        secret = None if _SIGNING in config else _signing_secret()
        full = config if secret is None else {**config, _SIGNING: [secret]}
        await self._store.save_client(Client(name, role, self._vault.config(name, full), self._clock.now()))
        return replace(await self.add_key(name, key), callback_secret=secret)

    # ---------------------------------------------------------------------------------------------------------- keys

    async def add_key(self, client: str, key: str | None = None) -> NewKey:
        """One more key of a client (a random one, unless it is given)."""
        await self._client(client)
        key = key or secrets.token_urlsafe(_KEY_BYTES)
        key_id = await self._store.add_key(client, key_digest(key), self._clock.now())
        await self._directory.reread()
        return NewKey(key_id, key)

    async def revoke_key(self, client: str, key_id: int) -> None:
        """Let a key open nothing any more. NotFound where the client has no such key."""
        await self._client(client)
        keys = [key for key in await self._store.keys(client) if key.revoked_at is None]
        if [key.id for key in keys] == [key_id]:
            await self._keep_an_admin(without=client)
        if not await self._store.revoke_key(client, key_id, self._clock.now()):
            raise NotFound(f"the client {client!r} has no key {key_id}")
        await self._directory.reread()

    async def bootstrap(self, client: str, key: str | None = None) -> str | None:
        """Make the first admin where nobody could call yet; the key where one was made up."""
        entries = await self._directory.reread()
        if entries.keys:
            return None
        self._judge(client, Role.ADMIN, {})
        there = client in entries.tenants
        made = await (self.add_key(client, key) if there else self._make(client, Role.ADMIN, {}, key))
        return None if key else made.api_key

    def _judge(self, name: str, role: str, config: Mapping[str, Any]) -> None:
        """InvalidRequest with every fault at once."""
        faults = []
        if not CLIENT_NAME.fullmatch(name):
            faults.append(Fault("/name", CLIENT_NAME_RULE))
        if role not in set(Role):
            faults.append(Fault("/role", f"must be one of {', '.join(Role)}"))
        try:
            parsed = parse_client_config(config)
            faults += self._template_faults(parsed)
        except InvalidRequest as error:
            faults.extend(error.faults)
        if faults:
            raise InvalidRequest("The client is not valid", faults)

    def _template_faults(self, config: ClientConfig) -> list[Fault]:
        """What is wrong with the expressions in it."""
        if self._evaluator is None:
            return []
        given = {"callback_template": config.callback_template, "callback_fields": config.callback_fields}
        return [
            Fault(f"/config/{name}", message)
            for name, templates in given.items()
            for message in self._evaluator.check(templates)
        ]

    def _shown(self, client: Client) -> Client:
        """A client with its configuration opened, where its key is here."""
        try:
            return replace(client, config=self._vault.open(client.name, client.config))
        except SecretUnavailable:
            return client

    async def _client(self, name: str) -> Client:
        client = await self._store.client(name)
        if client is None:
            raise NotFound(f"there is no client {name!r}")
        return client

    async def _keep_an_admin(self, *, without: str) -> None:
        entries = await self._directory.reread()
        if without in _admins(entries) and _admins(entries) == {without}:
            raise Conflict(f"{without!r} is the last admin with a key: nobody could administer the engine any more")


def _caller(entries: Entries, client: str, key: str) -> Caller | None:
    owner = entries.keys.get(key_digest(key), "")
    same = hmac.compare_digest(owner.encode(), client.encode("utf-8", "surrogatepass"))
    return Caller(owner, entries.tenants[owner].role) if same and owner in entries.tenants else None


def _signing_secret() -> str:
    """As Standard Webhooks write them."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}"


def _admins(entries: Entries) -> set[str]:
    """The admins that have a key."""
    owners = set(entries.keys.values())
    return {name for name, tenant in entries.tenants.items() if tenant.role is Role.ADMIN and name in owners}
