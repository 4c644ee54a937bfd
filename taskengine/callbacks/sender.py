"""Makes one try at one delivery over HTTP."""

from __future__ import annotations

import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from taskengine.callbacks.config import ClientCallbackConfig, EndpointConfig
from taskengine.callbacks.signing import signed_headers
from taskengine.domain.callback_config import OWN_HEADERS
from taskengine.domain.errors import StoreUnavailable
from taskengine.domain.tracing import TRACEPARENT, Untraced
from taskengine.domain.urls import redacted_url
from taskengine.net import Answer, GuardedClients, OutboundFault, OutboundRefused, Timeouts
from taskengine.ports import Clock, DueCallback, SendResult, Span, Tracer

TIMEOUTS = Timeouts(total_s=15.0, connect_s=5.0)


class HttpCallbackSender:
    """The `CallbackSender` port over the guarded client."""

    def __init__(
        self,
        clients: GuardedClients,
        config: ClientCallbackConfig,
        clock: Clock,
        *,
        user_agent: str = "task-engine",
        timeouts: Timeouts = TIMEOUTS,
        max_bytes: int = 64 * 1024,
        tracer: Tracer | None = None,
    ) -> None:
        self._clients = clients
        self._config = config
        self._clock = clock
        self._user_agent = user_agent
        self._timeouts = timeouts
        self._max_bytes = max_bytes
        self._tracer = tracer or Untraced()

    async def send(self, callback: DueCallback) -> SendResult:
        """POST the body, signed, with the same `webhook-id` on every try; every fault is a result."""
        with self._tracer.span(f"callback {callback.event}", "client", callback.traceparent, _traced(callback)) as span:
            result = await self._tried(callback, span)
            if result.status is not None:
                span.note("http.response.status_code", result.status)
            if result.error:
                span.fail(result.error)
            return result

    async def _tried(self, callback: DueCallback, span: Span) -> SendResult:
        try:
            config = await self._config(callback.client, callback.endpoint)
            trace = {TRACEPARENT: span.traceparent} if span.traceparent else {}
            answer = await self._post(callback, config, {**self._headers(callback, config), **trace})
        except (OutboundRefused, OutboundFault, StoreUnavailable, ValueError) as error:
            return SendResult(status=None, error=str(error))
        if (result := SendResult(answer.status)).delivered:
            return result
        error_text = f"answered {answer.status} {_phrase(answer.status)}".rstrip()
        return SendResult(answer.status, error_text, retry_after(answer.headers, self._clock.now()))

    async def _post(self, callback: DueCallback, config: EndpointConfig, headers: Mapping[str, str]) -> Answer:
        client = await self._clients.client(config.allow)
        return await client.request(
            "POST",
            callback.endpoint,
            headers=headers,
            body=callback.body.encode(),
            timeouts=self._timeouts,
            max_bytes=self._max_bytes,
            verify_tls=config.verify_tls,
        )

    def _headers(self, callback: DueCallback, config: EndpointConfig) -> dict[str, str]:
        """The workflow's headers, the client's own before them, and ours, which they cannot replace."""
        signed = signed_headers(callback.webhook_id, callback.body, self._clock.now(), config.secrets)
        own = {
            name: value
            for name, value in {
                "user-agent": self._user_agent,
                **_lowered(callback.headers),
                **_lowered(config.headers),
            }.items()
            if name not in OWN_HEADERS and not name.startswith("webhook-")
        }
        return own | {"content-type": "application/json"} | signed


def _lowered(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _traced(callback: DueCallback) -> Mapping[str, str | int]:
    """What a trace says of a delivery."""
    return {
        "taskengine.job_id": callback.job_id,
        "taskengine.client": callback.client,
        "taskengine.event": callback.event,
        "taskengine.webhook_id": callback.webhook_id,
        "taskengine.try": callback.attempts + 1,
        "http.request.method": "POST",
        "url.full": redacted_url(callback.endpoint),
    }


def retry_after(headers: Mapping[str, str], now: int) -> float | None:
    """Seconds that `Retry-After` asks for (a number or a date); None where there is none that makes sense."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _until(text, now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(text: str, now: int) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now / 1000)
    except (ValueError, OverflowError):
        return None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
