"""Whatever a client sends, the answer is JSON, gives a reason, and is never a 5xx."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taskengine.api import HttpLimits
from tests.support.api import World, api_world

GOOD = {"job": {"workflow": "chain"}, "parameters": {"content_id": "c1"}}
LIMITS = HttpLimits(body_bytes=64 * 1024, depth=32, body_s=5)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """The API with small limits."""
    async with api_world(tmp_path, limits=LIMITS) as made:
        yield made


def custom(text: str) -> bytes:
    """A submission with `custom_data` as written."""
    start = '{"job": {"workflow": "chain"}, "parameters": {"content_id": "c", "custom_data": '
    return (start + text + "}}").encode("utf-8", "surrogatepass")


BAD_BODIES = {
    "empty": b"",
    "spaces": b"  \n",
    "no JSON": b"{",
    "a list": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "a number": b"1",
    "two values": b"{} {}",
    "not UTF-8": b'{"job": "\xff"}',
    "UTF-16": '{"job": {}}'.encode("utf-16"),
    "a form": b"job=1&parameters=2",
    "NaN": custom("NaN"),
    "Infinity": custom("-Infinity"),
    "a huge exponent": custom("1e999"),
    "a huge integer": custom("9223372036854775808"),
    "a very long integer": custom("9" * 6000),
    "a name twice": custom('{"a": 1, "a": 2}'),
    "job twice": b'{"job": {"workflow": "chain"}, "job": {}}',
    "NUL": custom('"a\\u0000b"'),
    "NUL in a name": custom('{"a\\u0000b": 1}'),
    "a lone surrogate": custom('"\\ud800"'),
    "a lone surrogate in a name": custom('{"\\udfff": 1}'),
    "an encoded surrogate": custom('"\ud800"'),
    "deep": custom("[" * 33 + "]" * 33),
    "very deep": b"[" * 30_000,
    "very deep objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "comments": b'{"job": {} /* no */}',
    "single quotes": b"{'job': {}}",
    "control characters": b'{"job": "\x01"}',
    "a NUL byte": b"\0",
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_body_that_is_no_strict_json_object_is_refused(world: World, name: str) -> None:
    """400 with a reason, for every call that takes one."""
    job_id = await world.submit()
    for method, path in (("POST", "/job"), ("PATCH", f"/jobs/{job_id}"), ("POST", "/settings"), ("POST", "/clients")):
        reply = await world.call(method, path, data=BAD_BODIES[name])
        assert (reply.status, bool(reply.body["error"])) == (400, True)
    assert len((await world.call("GET", "/jobs")).body) == 1


@pytest.mark.parametrize(
    "text",
    [
        "9223372036854775807", "-9223372036854775808", "0.1", "1.5e300", "[]", "{}", '""', "true", "null",
        '"é€😀\\u2028"', '{"a": {"b": [1, "2", 3.5, null, false]}}', '"<script>"', '{"$file": "x"}', '"${{ 1 }}"',
    ],
)  # fmt: skip
async def test_custom_data_comes_back_exactly(world: World, text: str) -> None:
    """Any JSON."""
    reply = await world.call("POST", "/job", data=custom(text))
    assert reply.status == 200
    job = (await world.call("GET", f"/jobs/{reply.body['id']}")).body
    assert (job["custom_data"], type(job["custom_data"])) == (json.loads(text), type(json.loads(text)))
    assert job["parameters"]["custom_data"] == json.loads(text)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "x", "image/png", ""])
async def test_json_is_taken_whatever_its_type_is_called(world: World, content_type: str) -> None:
    """The Content-Type says nothing."""
    assert (await world.call("POST", "/job", GOOD, headers={"Content-Type": content_type})).status == 200


async def test_a_byte_order_mark_is_passed_over(world: World) -> None:
    """Some clients write one."""
    assert (await world.call("POST", "/job", data=b"\xef\xbb\xbf" + json.dumps(GOOD).encode())).status == 200


async def test_too_large_a_body_is_refused(world: World) -> None:
    """413, whether its length is told or not; also from one whose client is in the body."""
    big = custom('"' + "x" * LIMITS.body_bytes + '"')
    assert (await world.call("POST", "/job", data=big)).status == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    headers = {"client": "demo", "api-key": world.keys["demo"]}
    async with world.http.post("/job", data=chunks(), headers=headers) as response:
        assert response.status == 413
    assert (await world.call("POST", "/job", data=big, by=None, headers={"api-key": "x"})).status == 413


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "identity"])
async def test_a_compressed_body_is_read(world: World, encoding: str) -> None:
    """What the header says."""
    data = json.dumps(GOOD).encode()
    sent = {"gzip": gzip.compress(data), "deflate": zlib.compress(data)}.get(encoding.lower(), data)
    assert (await world.call("POST", "/job", data=sent, headers={"Content-Encoding": encoding})).status == 200


async def test_a_deflated_body_without_its_header_is_read(world: World) -> None:
    """As some send it."""
    press = zlib.compressobj(wbits=-15)
    sent = press.compress(json.dumps(GOOD).encode()) + press.flush()
    assert (await world.call("POST", "/job", data=sent, headers={"Content-Encoding": "deflate"})).status == 200


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "nonsense", "*"])
async def test_an_unknown_encoding_is_refused(world: World, encoding: str) -> None:
    """415."""
    assert (await world.call("POST", "/job", GOOD, headers={"Content-Encoding": encoding})).status == 415


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"not compressed", 400),
        (gzip.compress(json.dumps(GOOD).encode())[:-9], 400),
        (gzip.compress(json.dumps(GOOD).encode()) + b"tail", 400),
        (b"", 400),
        (gzip.compress(b" " * 50_000_000), 413),
    ],
    ids=["plain", "cut", "with a tail", "empty", "bomb"],
)
async def test_a_badly_compressed_body_is_refused(world: World, data: bytes, status: int) -> None:
    """A bomb is not unfolded."""
    reply = await world.call("POST", "/job", data=data, headers={"Content-Encoding": "gzip"})
    assert reply.status == status


async def test_a_body_that_does_not_arrive_is_given_up(tmp_path: Path) -> None:
    """408, and the connection ends."""
    async with api_world(tmp_path, limits=HttpLimits(body_s=0.05)) as world:
        head = f"POST /job HTTP/1.1\r\nHost: x\r\nclient: demo\r\napi-key: {world.keys['demo']}\r\nContent-Length: 10\r\n\r\n"
        status, answer = await raw(world, head.encode())
        assert (status, "did not arrive" in answer["error"]) == (408, True)


async def raw(world: World, sent: bytes) -> tuple[int, dict[str, str]]:
    """Bytes sent as they are; the status and the body of the first answer."""
    reader, writer = await asyncio.open_connection(world.http.host, world.http.port)
    try:
        writer.write(sent)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert "content-type: application/json; charset=utf-8" in head.lower()
        length = next(int(line[15:]) for line in head.lower().splitlines() if line.startswith("content-length:"))
        return int(head.split()[1]), json.loads(await reader.readexactly(length))
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nBad header\r\n\r\n",
        b"POST /job HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /job HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_answered_in_json(world: World, sent: bytes) -> None:
    """400, without a word of what was sent."""
    status, answer = await raw(world, sent)
    assert (status, answer) == (400, {"error": "The request is not valid HTTP"})


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 40_000 + b"\r\n\r\n",
    ],
)
async def test_a_line_that_is_too_long_is_named(world: World, sent: bytes) -> None:
    """Not repeated."""
    status, answer = await raw(world, sent)
    assert (status, "longer than 32768 bytes" in answer["error"], len(answer["error"]) < 200) == (400, True, True)


async def test_a_query_may_name_as_many_jobs_as_it_is_said_to(world: World) -> None:
    """A thousand of the longest ids."""
    named = ",".join(str(2**63 - 1 - number) for number in range(1000))
    assert (await world.call("GET", f"/jobs?job_ids={named}")).body == []


@pytest.mark.parametrize(
    ("headers", "sent", "status"),
    [
        ({}, b"{", 400),
        ({}, b"", 400),
        ({}, b'{"priority": 1, "priority": 2}', 400),
        ({"Content-Encoding": "gzip"}, b"no gzip", 400),
        ({"Content-Encoding": "br"}, b"{}", 415),
        ({}, b" " * 65 * 1024, 413),
    ],
)
async def test_a_body_that_cannot_be_read_is_told_with_the_job_that_it_was_for(
    world: World, headers: dict[str, str], sent: bytes, status: int
) -> None:
    """As every refusal about a job that exists; one that does not is not found, whatever was sent."""
    job_id = await world.submit()
    reply = await world.call("PATCH", f"/jobs/{job_id}", data=sent, headers=headers)
    assert (reply.status, reply.body.get("id")) == (status, job_id)
    unknown = await world.call("PATCH", "/jobs/999", data=sent, headers=headers)
    assert (unknown.status, set(unknown.body)) == (404, {"error"})


async def test_a_bad_query_of_a_log_is_told_with_its_job(world: World) -> None:
    """The id of the path is the job's."""
    job_id = await world.submit()
    reply = await world.call("GET", f"/logs/{job_id}?severity=loud")
    assert (reply.status, reply.body["id"]) == (400, job_id)


@pytest.mark.parametrize(
    "headers",
    [
        b"Host: [bad\r\n",
        b"Host: a b/c\r\n",
        b"Host: \xff\xfe\r\n",
        b"",
        b"Host: x\r\nclient: \xff\xfe\r\n",
        b"Host: x\r\nX-Request-Id: \xff\r\n",
        b"Host: x\r\nIdempotency-Key: \xff\r\n",
    ],
)
async def test_odd_headers_do_no_harm(world: World, headers: bytes) -> None:
    """Also where the answer has a link to the next page."""
    for _ in range(2):
        await world.submit()
    key = b"" if b"client" in headers else b"client: demo\r\n"
    sent = headers + key + b"api-key: " + world.keys["demo"].encode() + b"\r\n\r\n"
    status, _ = await raw(world, b"GET /jobs?limit=1 HTTP/1.1\r\n" + sent)
    assert status in {200, 400, 401}


async def test_odd_headers_of_a_submission_are_kept_in_the_log(world: World) -> None:
    """Bytes that are no text too."""
    body = json.dumps(GOOD).encode()
    head = (
        f"POST /job HTTP/1.1\r\nHost: x\r\nclient: demo\r\napi-key: {world.keys['demo']}\r\nContent-Length: {len(body)}"
    )
    status, answer = await raw(world, head.encode() + b"\r\nX-Odd: \xff\xfe\x80\r\n\r\n" + body)
    assert status == 200
    assert (await world.call("GET", f"/logs/{answer['id']}")).status == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/jobs/1/2/3", 404),
        ("GET", "/jobs/%2e%2e/x", 404),
        ("POST", "/jobs/1", 405),
        ("DELETE", "/job", 405),
        ("GET", "/job", 405),
        ("PATCH", "/jobs", 405),
        ("BREW", "/jobs", 400),
        ("MKCOL", "/jobs", 405),
    ],
)
async def test_unknown_calls_are_answered_in_json(world: World, method: str, path: str, status: int) -> None:
    """404 and 405, the latter with what is allowed."""
    reply = await world.call(method, path, by=None)
    assert (reply.status, bool(reply.body["error"]), "Allow" in reply.headers) == (status, True, status == 405)


async def test_head_and_options_make_sense(world: World) -> None:
    """HEAD is GET without a body; OPTIONS says what is allowed."""
    assert (await world.call("HEAD", "/jobs")).status == 200
    reply = await world.call("OPTIONS", "/jobs/1", by=None)
    assert (reply.status, set(reply.headers["Allow"].split(","))) == (204, {"GET", "HEAD", "PATCH", "PUT", "DELETE"})
    assert (reply.headers["Server"], reply.headers["Cache-Control"]) == ("task-engine", "no-store")


@pytest.mark.parametrize("path", ["/", "/nothing"])
async def test_an_unknown_expectation_is_refused(world: World, path: str) -> None:
    """In JSON, and without being repeated."""
    status, answer = await raw(world, f"GET {path} HTTP/1.1\r\nHost: x\r\nExpect: <b>miracles</b>\r\n\r\n".encode())
    assert (status, "miracles" in str(answer)) == (417, False)


async def test_the_requests_id_is_answered(world: World) -> None:
    """The client's own where it is sane."""
    assert (await world.call("GET", "/", headers={"X-Request-Id": "abc-1"})).headers["X-Request-Id"] == "abc-1"
    assert len((await world.call("GET", "/", headers={"X-Request-Id": "a b"})).headers["X-Request-Id"]) == 32
