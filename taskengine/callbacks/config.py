"""What a client's configuration says about calls to its endpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from taskengine.net import IPNetwork


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    """How one client's endpoints are called. Several secrets sign side by side, so that they can be rotated."""

    secrets: Sequence[str] = ()  # `whsec_<base64>`, or base64
    headers: Mapping[str, str] = field(default_factory=dict)
    verify_tls: bool = True
    allow: Sequence[IPNetwork] = ()  # networks beyond the installation's


class ClientCallbackConfig(Protocol):
    """Looks a client's `EndpointConfig` up; it is asked before each call and should be cheap."""

    async def __call__(self, client: str) -> EndpointConfig:
        """The configuration of `client`; the defaults where it has none."""
        ...
