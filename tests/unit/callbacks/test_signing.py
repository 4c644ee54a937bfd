"""Signatures as Standard Webhooks say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from taskengine.callbacks.signing import new_secret, signed_headers


def test_a_receiver_with_the_library_accepts_the_signature() -> None:
    """And refuses it for another body."""
    secret, now = new_secret(), int(time.time() * 1000)
    headers = signed_headers("msg_1", '{"a":"ü"}', now, [secret])
    assert Webhook(secret).verify('{"a":"ü"}', headers) == {"a": "ü"}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify('{"a":"u"}', headers)


def test_the_signature_is_the_hmac_of_id_timestamp_and_body() -> None:
    """Computed by hand from the published formula; milliseconds are cut."""
    headers = signed_headers("msg_1", "{}", 1_700_000_000_999, ["whsec_" + base64.b64encode(b"k" * 24).decode()])
    digest = hmac.new(b"k" * 24, b"msg_1.1700000000.{}", hashlib.sha256).digest()
    assert headers == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1700000000",
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }


def test_two_secrets_sign_side_by_side() -> None:
    """So that a client can take a new one before the old one ends."""
    old, new = new_secret(), new_secret()
    headers = signed_headers("msg_1", "{}", int(time.time() * 1000), [new, old])
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (old, new):
        assert Webhook(secret).verify("{}", headers) == {}


def test_without_a_secret_there_is_no_signature() -> None:
    """Id and time are sent all the same."""
    assert set(signed_headers("msg_1", "{}", 0, [])) == {"webhook-id", "webhook-timestamp"}


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_ü", "abcde"])
def test_a_secret_that_is_no_base64_is_a_fault_that_does_not_repeat_it(secret: str) -> None:
    """It names what is wrong, not the secret."""
    with pytest.raises(ValueError, match="secret must be base64") as caught:
        signed_headers("msg_1", "{}", 0, [secret])
    assert not secret or secret not in str(caught.value).replace("`whsec_`", "")


def test_new_secrets_differ() -> None:
    """They are random and long."""
    assert new_secret() != new_secret()
    assert len(base64.b64decode(new_secret().removeprefix("whsec_"))) == 32
