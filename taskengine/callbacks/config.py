"""What a client's configuration says about calls to one of its endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from taskengine.net import IPNetwork


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """How one of a client's endpoints is called. Several secrets sign side by side, so that they can be rotated."""

    secrets: Sequence[str] = field(default=(), repr=False)  # `whsec_<base64>`, or base64
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    verify_tls: bool = True
    allow: Sequence[IPNetwork] = ()  # networks beyond the installation's


class ClientCallbackConfig(Protocol):
    """Looks an `EndpointConfig` up; it is asked before each call and should be cheap."""

    async def __call__(self, client: str, url: str) -> EndpointConfig:
        """How `client` has `url` called; the defaults where it says nothing."""
        ...
