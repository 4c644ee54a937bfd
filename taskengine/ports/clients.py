"""Tenants and their keys as they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Client:
    """A tenant: `config` is its configuration as stored (see `domain.tenants`)."""

    name: str
    role: str  # admin, operator, submitter, viewer
    config: Mapping[str, Any]
    created_at: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a client. The key itself is never stored: `digest` is."""

    id: int
    client: str
    digest: str
    created_at: int
    revoked_at: int | None


class ClientStore(Protocol):
    """Tenants, their keys and settings."""

    async def clients(self) -> Sequence[Client]:
        """All of them."""
        ...

    async def client(self, name: str) -> Client | None:
        """One of them."""
        ...

    async def save_client(self, client: Client) -> None:
        """Insert or update."""
        ...

    async def delete_client(self, name: str) -> bool:
        """Remove it with its keys and settings; False where there was none."""
        ...

    async def add_key(self, client: str, digest: str, now: int) -> int:
        """Add a hashed key; its id."""
        ...

    async def revoke_key(self, client: str, key_id: int, now: int) -> bool:
        """Revoke it; False where there was none."""
        ...

    async def keys(self, client: str | None = None) -> Sequence[ApiKey]:
        """Keys of one client, or all."""
        ...

    async def settings(self) -> Mapping[tuple[str, str], str]:
        """(scope, name) → value; the scope is a client's name, or "" for the system."""
        ...

    async def save_setting(self, scope: str, name: str, value: str) -> bool:
        """Set it; True where it had no value yet."""
        ...
