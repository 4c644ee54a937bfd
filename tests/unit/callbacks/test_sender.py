"""One try at one delivery over HTTP."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from standardwebhooks import Webhook

from taskengine.callbacks.config import EndpointConfig
from taskengine.callbacks.sender import HttpCallbackSender, retry_after
from taskengine.callbacks.signing import new_secret
from taskengine.clock import SystemClock
from taskengine.domain.errors import StoreUnavailable
from taskengine.net import GuardedClients, Timeouts, networks
from taskengine.ports import DueCallback
from tests.support.receiver import CallbackReceiver, answer, redirect
from tests.support.tls import self_signed

LOOPBACK = networks(["127.0.0.0/8"])
BODY = '{"job_id":1,"message":"naïve","custom_data":{"b":1,"a":[1.0,9007199254740993]}}'
CALLBACK = DueCallback(1, 7, "demo", "", "start", "msg_1", BODY, 0, 0, 0, 0)


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """A listening endpoint."""
    async with CallbackReceiver() as receiver:
        yield receiver


@pytest.fixture
async def clients() -> AsyncIterator[GuardedClients]:
    """Guarded clients that may reach nothing but what the client's configuration lists."""
    async with GuardedClients() as clients:
        yield clients


def _sender(clients: GuardedClients, config: EndpointConfig | Exception | None = None) -> HttpCallbackSender:
    async def lookup(client: str, url: str) -> EndpointConfig:
        assert client == "demo"
        if isinstance(config, Exception):
            raise config
        return config or EndpointConfig(allow=LOOPBACK)

    quick = Timeouts(total_s=0.3, connect_s=0.2, body_s=0.05)
    return HttpCallbackSender(clients, lookup, SystemClock(), user_agent="task-engine/1", timeouts=quick)


async def test_the_body_arrives_byte_for_byte_and_signed(receiver: CallbackReceiver, clients: GuardedClients) -> None:
    """What was stored is what is sent, and the receiver can verify it."""
    secret = new_secret()
    sender = _sender(clients, EndpointConfig(secrets=[secret], allow=LOOPBACK))
    result = await sender.send(replace(CALLBACK, endpoint=receiver.url + "/hook?a=1"))
    assert (result.status, result.error, result.retry_after) == (200, None, None)
    (path, headers, _), (raw,) = receiver.received[0], receiver.raw
    assert (path, raw) == ("/hook?a=1", BODY.encode())
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "task-engine/1"
    assert headers["webhook-id"] == "msg_1"
    Webhook(secret).verify(raw, dict(headers))


async def test_each_try_has_the_same_id(receiver: CallbackReceiver, clients: GuardedClients) -> None:
    """Duplicates can be recognised."""
    sender, callback = _sender(clients), replace(CALLBACK, endpoint=receiver.script("/", 500))
    for attempts in range(2):
        assert (await sender.send(replace(callback, attempts=attempts))).error == "answered 500 Internal Server Error"
    assert [headers["webhook-id"] for _, headers, _ in receiver.received] == ["msg_1", "msg_1"]


async def test_a_client_s_own_headers_are_sent_but_replace_none_of_ours(
    receiver: CallbackReceiver, clients: GuardedClients
) -> None:
    """Authentication headers pass; id, type and length stay what they are."""
    headers = {"Authorization": "Bearer x", "Content-Type": "text/plain", "Webhook-Id": "x", "content-length": "1"}
    await _sender(clients, EndpointConfig(headers=headers, allow=LOOPBACK)).send(
        replace(CALLBACK, endpoint=receiver.url)
    )
    got = receiver.received[0].headers
    assert (got["authorization"], got["content-type"], got["webhook-id"]) == ("Bearer x", "application/json", "msg_1")
    assert receiver.raw == [BODY.encode()]


async def test_credentials_in_the_url_become_a_header(receiver: CallbackReceiver, clients: GuardedClients) -> None:
    """Basic authentication as the published clients use it."""
    url = receiver.url.replace("http://", "http://user:pass@")
    assert (await _sender(clients).send(replace(CALLBACK, endpoint=url))).status == 200
    assert receiver.received[0].headers["authorization"] == "Basic dXNlcjpwYXNz"


async def test_what_the_endpoint_says_is_the_result(receiver: CallbackReceiver, clients: GuardedClients) -> None:
    """Status and Retry-After are passed on; redirects are not followed."""
    sender = _sender(clients)
    receiver.script("/busy", answer(503, {"Retry-After": "17"}))
    receiver.script("/odd", answer(599))
    receiver.script("/moved", redirect("/busy"))
    busy, odd, moved = [
        await sender.send(replace(CALLBACK, endpoint=receiver.url + path)) for path in ("/busy", "/odd", "/moved")
    ]
    assert (busy.status, busy.error, busy.retry_after) == (503, "answered 503 Service Unavailable", 17.0)
    assert (odd.status, odd.error) == (599, "answered 599")
    assert moved.status == 307
    assert [one.path for one in receiver.received] == ["/busy", "/odd", "/moved"]


async def test_no_answer_is_a_result_without_a_status(receiver: CallbackReceiver, clients: GuardedClients) -> None:
    """Hanging, dropping, refused by the guard, no URL: never an exception."""
    sender = _sender(clients)
    urls = [receiver.script("/h", receiver.hang), receiver.script("/r", receiver.reset), "http://10.0.0.1/", "junk"]
    results = [await sender.send(replace(CALLBACK, endpoint=url)) for url in urls]
    assert [result.status for result in results] == [None] * 4
    hang, reset, refused, junk = [str(result.error) for result in results]
    assert hang == "no answer within 0.3 s"
    assert "no valid answer" in reset
    assert "TASKENGINE_OUTBOUND_ALLOW" in refused
    assert "http or https" in junk


@pytest.mark.parametrize("behaviour", ["drip_body", "flood"])
async def test_a_2xx_answer_counts_whatever_its_body_does(
    receiver: CallbackReceiver, clients: GuardedClients, behaviour: str
) -> None:
    """An endless body is cut, and the endpoint has the callback."""
    url = receiver.script("/", getattr(receiver, behaviour))
    assert (await _sender(clients).send(replace(CALLBACK, endpoint=url))).status == 200


@pytest.mark.parametrize(
    "config",
    [
        StoreUnavailable("away"),
        EndpointConfig(secrets=[""], allow=LOOPBACK),
        EndpointConfig(headers={"x": "\n"}, allow=LOOPBACK),
    ],
)
async def test_a_configuration_that_does_not_serve_is_a_result(
    receiver: CallbackReceiver, clients: GuardedClients, config: EndpointConfig | Exception
) -> None:
    """It is tried again when it is mended; nothing is sent before."""
    result = await _sender(clients, config).send(replace(CALLBACK, endpoint=receiver.url))
    assert result.status is None
    assert result.error
    assert receiver.received == []


async def test_certificates_are_verified_unless_the_client_s_configuration_says_no(clients: GuardedClients) -> None:
    """A self-signed certificate is refused, and accepted for that client alone where it is turned off."""
    certificate = self_signed("127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.load_into(context)
    async with CallbackReceiver(context) as receiver:
        callback = replace(CALLBACK, endpoint=receiver.url)
        verified = await _sender(clients).send(callback)
        assert verified.status is None
        assert "certificate" in str(verified.error)
        trusting = EndpointConfig(verify_tls=False, allow=LOOPBACK)
        assert (await _sender(clients, trusting).send(callback)).status == 200
        assert (await _sender(clients).send(callback)).status is None  # the open connection is not lent


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", None), ("5", 5.0), ("0", 0.0), ("-3", 0.0), ("1.5", 1.5), ("nan", None), ("inf", None), ("soon", None),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0), ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0), ("Thu, 99 Jan 1970", None),
    ],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(text: str, seconds: float | None) -> None:
    """Anything else is as if it were not there; what is past is now."""
    assert retry_after({"Retry-After": text}, 10_000) == seconds
