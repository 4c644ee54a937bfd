"""What holds secrets does not show them: not in a log, a traceback or an assertion."""

from __future__ import annotations

import pytest

from taskengine.callbacks.config import EndpointConfig
from taskengine.domain.callback_config import EndpointRule
from taskengine.domain.job import Callback
from taskengine.domain.keys import ContentKey
from taskengine.domain.tenants import ClientConfig
from taskengine.keys.providers import ProviderConfig
from taskengine.keys.service import Service
from taskengine.ports import DueCallback
from taskengine.sealing import KEY_BYTES, parse_keys

SECRET, HEADERS = "5ec2e7", {"authorization": "5ec2e7"}
HEX = (SECRET + "00" * KEY_BYTES)[: KEY_BYTES * 2]


@pytest.mark.parametrize(
    "held",
    [
        parse_keys(HEX),
        ContentKey("ALL", bytes(16), bytes.fromhex(SECRET)),
        EndpointConfig(secrets=[SECRET], headers=HEADERS),
        EndpointRule("https://a.example/", secrets=[SECRET], headers=HEADERS),
        ClientConfig(callback_secrets=[SECRET], callback_headers=HEADERS),
        Callback("https://a.example/", "start", "msg_1", "{}", 0, headers=HEADERS),
        DueCallback(1, 1, "demo", "https://a.example/", "start", "msg_1", "{}", 0, 0, 0, 0, headers=HEADERS),
        ProviderConfig("seed", seed=SECRET),
        Service("https://keys.example/", headers=HEADERS),
    ],
    ids=lambda held: type(held).__name__,
)
def test_a_secret_is_not_in_what_is_shown_of_its_holder(held: object) -> None:
    """Neither as it is nor as bytes are shown."""
    shown = f"{held!r} {held}"
    assert SECRET not in shown
    assert repr(bytes.fromhex(SECRET))[2:-1] not in shown
