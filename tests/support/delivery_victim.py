"""A process that delivers the callbacks of a store until it is killed: `python -m … <url> <alone: 0 or 1>`."""

from __future__ import annotations

import asyncio
import sys

from taskengine.callbacks.config import ClientCallbackConfig, EndpointConfig
from taskengine.callbacks.sender import HttpCallbackSender
from taskengine.clock import SystemClock
from taskengine.engine.callback_policy import CallbackPolicy
from taskengine.engine.callbacks import CallbackDelivery
from taskengine.log import configure
from taskengine.net import GuardedClients, Timeouts, networks
from taskengine.stores import open_store

# As the contract has it, in a hurry: what takes seconds there takes tenths here.
POLICY = CallbackPolicy(
    timeout_s=1.0,
    connect_timeout_s=0.5,
    delays_s=(0.1, 0.2, 0.4),
    cool_down_s=0.2,
    cool_down_max_s=0.5,
    retry_after_max_s=1.0,
)
SECRET = "whsec_c3Rvcm0tc2VjcmV0"


def loopback(*secrets: str) -> ClientCallbackConfig:
    """Every endpoint is on this machine, and signed with these secrets."""
    found = EndpointConfig(secrets=secrets, allow=networks(["127.0.0.0/8"]))

    async def config(client: str, url: str) -> EndpointConfig:
        return found

    return config


async def deliver(url: str, *, alone: bool) -> None:
    """For ever. `alone`: nobody else delivers, so that what is claimed was claimed by a process that was killed."""
    clock = SystemClock()

    timeouts = Timeouts(POLICY.timeout_s, POLICY.connect_timeout_s, body_s=0.2)
    async with open_store(url, clock) as store, GuardedClients() as clients:
        if alone:
            await store.release_claims(clock.now())
        await CallbackDelivery(
            store, HttpCallbackSender(clients, loopback(SECRET), clock, timeouts=timeouts), clock, POLICY
        ).run()


if __name__ == "__main__":
    configure("error")  # each failure is a warning
    asyncio.run(deliver(sys.argv[1], alone=sys.argv[2] == "1"))
