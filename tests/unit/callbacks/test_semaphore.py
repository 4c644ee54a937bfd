"""Asking semaphores."""

from __future__ import annotations

import pytest

from taskengine.callbacks.config import EndpointConfig
from taskengine.callbacks.semaphore import HttpSemaphoreProbe
from taskengine.net import GuardedClients, Timeouts, networks
from tests.support.receiver import CallbackReceiver, answer, redirect


async def _config(client: str, url: str) -> EndpointConfig:
    return EndpointConfig(headers={"Authorization": "Bearer x"}, allow=networks(["127.0.0.1"]))


@pytest.mark.parametrize(("status", "is_open"), [(200, True), (204, True), (302, True), (404, False), (500, False)])
async def test_2xx_and_3xx_open_a_semaphore(*, status: int, is_open: bool) -> None:
    """A GET without the callbacks' authentication headers; redirects are not followed."""
    async with CallbackReceiver() as receiver, GuardedClients() as clients:
        behaviour = redirect("/elsewhere", status) if status == 302 else answer(status)
        url = receiver.script("/gate", behaviour)
        assert await HttpSemaphoreProbe(clients, _config).open(url, "demo") == (is_open, f"answered {status}")
    assert [one.path for one in receiver.received] == ["/gate"]
    assert "authorization" not in receiver.received[0].headers


async def test_a_semaphore_that_cannot_be_asked_stays_closed_and_says_why() -> None:
    """Hanging, or an address that may not be called."""
    async with CallbackReceiver() as receiver, GuardedClients() as clients:
        probe = HttpSemaphoreProbe(clients, _config, timeouts=Timeouts(total_s=0.2))
        hung = await probe.open(receiver.script("/gate", receiver.hang), "demo")
        refused = await probe.open("http://169.254.169.254/", "demo")
    assert hung == (False, "no answer within 0.2 s")
    assert not refused[0]
    assert "metadata" in refused[1]
