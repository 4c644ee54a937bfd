"""Signatures of callbacks as Standard Webhooks say."""

from __future__ import annotations

import base64
import functools
import secrets as random_secrets
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

_SECRET_BYTES = 32


def new_secret() -> str:
    """A fresh signing secret, as it is shown to the client."""
    return "whsec_" + base64.b64encode(random_secrets.token_bytes(_SECRET_BYTES)).decode()


def signed_headers(webhook_id: str, body: str, now: int, secrets: Sequence[str]) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` and, where there are secrets, `webhook-signature` (one part per secret).

    `now` is in UTC milliseconds. Raises ValueError where a secret is empty or not base64; its text is not repeated.
    """
    seconds = now // 1000
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(seconds)}
    if secrets:
        at = datetime.fromtimestamp(seconds, UTC)
        headers["webhook-signature"] = " ".join(_signature(secret, webhook_id, at, body) for secret in secrets)
    return headers


_webhook = functools.lru_cache(1024)(Webhook)  # one reads a secret's base64 anew for each


def _signature(secret: str, webhook_id: str, at: datetime, body: str) -> str:
    try:
        webhook = _webhook(secret)
    except Exception as error:  # the library's error for an empty secret is a bare Exception
        raise ValueError("the callback secret must be base64, with or without `whsec_` before it") from error
    return webhook.sign(webhook_id, at, body)
