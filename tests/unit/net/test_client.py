"""The guarded client: which addresses may be called, and what it makes of answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any, cast

import pytest
from aiohttp import AsyncResolver
from aiohttp.abc import AbstractResolver, ResolveResult
from dnslib import QTYPE, RCODE, RR, A, DNSRecord

from taskengine.net import (
    Answer,
    GuardedClient,
    GuardedClients,
    OutboundFault,
    OutboundRefused,
    Timeouts,
    judge_address,
    judge_url,
    networks,
)
from tests.support.receiver import CallbackReceiver, answer, redirect

LOOPBACK = networks(["127.0.0.0/8", "::1"])
QUICK = Timeouts(total_s=0.3, connect_s=0.2, body_s=0.05)


class Resolver(AbstractResolver):
    """Gives each name its addresses, another set at each question where there are several."""

    def __init__(self, **names: list[list[str]]) -> None:
        self.names = names
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Answer from the table."""
        self.asked += 1
        turns = self.names[host.partition(".")[0]]
        addresses = turns.pop(0) if len(turns) > 1 else turns[0]
        return [
            ResolveResult(
                hostname=host, host=one, port=port, proto=0, flags=0,
                family=socket.AF_INET6 if ":" in one else socket.AF_INET,
            )
            for one in addresses
        ]  # fmt: skip

    async def close(self) -> None:
        """Nothing to close."""


# ------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "text",
    [
        "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.1.1", "172.16.0.1", "192.0.0.1", "192.0.2.1",
        "192.88.99.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
        "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b:1::8.8.8.8", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "2002:808:808::1",
        "3fff::1", "5f00::1", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    """Loopback, link-local, private, multicast, reserved, tunnels and documentation, in every form; the setting is named."""
    reason = judge_address(ip_address(text))
    assert reason is not None
    assert "TASKENGINE_OUTBOUND_ALLOW" in reason


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]
)
def test_a_public_address_may_be_called(text: str) -> None:
    """Over IPv4, over IPv6, and through NAT64 to a public IPv4 address."""
    assert judge_address(ip_address(text)) is None


@pytest.mark.parametrize(
    "text",
    [
        "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254",
        "::ffff:169.254.169.254", "::169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1",
        "64:ff9b:1::168.63.129.16", "fe80::5efe:169.254.169.254", "fe80::200:5efe:169.254.169.254",
    ],
)  # fmt: skip
def test_a_metadata_address_is_refused_though_everything_is_allowed(text: str) -> None:
    """No setting opens it, in no form."""
    reason = judge_address(ip_address(text), networks(["0.0.0.0/0", "::/0"]))
    assert reason is not None
    assert "metadata" in reason


def test_a_teredo_address_is_judged_by_what_it_carries() -> None:
    """A tunnel to a metadata address is refused though its network is allowed."""
    teredo = ip_address((0x20010000 << 96) | (0xA9FEA9FE << 64) | (0xFFFFFFFF ^ 0x08080808))
    assert "metadata" in str(judge_address(teredo, networks(["2001::/16"])))


@pytest.mark.parametrize(
    ("text", "allow"),
    [
        ("127.0.0.1", "127.0.0.0/8"), ("::ffff:127.0.0.1", "127.0.0.0/8"), ("10.2.3.4", "10.2.0.0/16"), ("::1", "::1"),
        ("fd12::5", "fd12::/16"), ("169.254.1.1", "169.254.0.0/16"), ("64:ff9b::10.2.3.4", "10.2.0.0/16"),
    ],
)  # fmt: skip
def test_a_listed_network_may_be_called(text: str, allow: str) -> None:
    """An installation lists its own networks; mapped and translated forms count as what they reach."""
    assert judge_address(ip_address(text), networks([allow])) is None


def test_a_network_that_is_none_is_named() -> None:
    """A wrong setting is a ValueError that repeats it."""
    with pytest.raises(ValueError, match=r"10\.0\.0/8"):
        networks(["127.0.0.1", "10.0.0/8"])


# ----------------------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "0", "127.0.0.1.",
        "localhost", "LOCALHOST.", "a.localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]",
        "[fe80::1%25eth0]", "\uff11\uff12\uff17.\uff10.\uff10.\uff11", "10.0.0.1", "169.254.169.254", "user:pass@10.0.0.1",
        "[64:ff9b::a00:1]", "0xa9fea9fe",
    ],
)  # fmt: skip
def test_a_literal_address_is_refused_in_every_spelling(host: str) -> None:
    """What a resolver would take for an inner address is refused at submission, and the setting is named."""
    reason = judge_url(f"http://{host}/hook")
    assert reason is not None
    assert "TASKENGINE_OUTBOUND_ALLOW" in reason
    assert "pass" not in reason


@pytest.mark.parametrize(
    "url", ["https://example.com/a?b#c", "http://8.8.8.8:8080/", "HTTPS://u:p@example.com", "http://[2606:4700::1111]/"]
)
def test_a_name_or_a_public_literal_passes(url: str) -> None:
    """Names are judged when they are connected to."""
    assert judge_url(url) is None


def test_a_literal_that_is_allowed_passes() -> None:
    """In its odd spellings too; a name of loopback needs only one of its two addresses allowed."""
    for url in ("http://127.1/", "http://localhost/", "http://[::1]/"):
        assert judge_url(url, LOOPBACK) is None
    assert judge_url("http://localhost/", networks(["127.0.0.1"])) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.com/", "http or https"), ("file:///etc/passwd", "http or https"), ("/hook", "http or https"),
        ("example.com/hook", "http or https"), ("", "http or https"), ("http://", "host"), ("http:///x", "host"),
        ("http://[::1", "not a URL"), ("http://example.com:99999/", "not a URL"), ("gopher://127.0.0.1", "http or https"),
    ],
)  # fmt: skip
def test_what_cannot_be_called_is_refused_with_its_reason(url: str, reason: str) -> None:
    """Only http and https URLs with a host can be called."""
    assert reason in str(judge_url(url))


# ---------------------------------------------------------------------------------------------------------- client


async def test_a_request_carries_what_it_was_given_and_nothing_else() -> None:
    """Method, headers and body arrive; no cookie comes back with the next request."""
    async with CallbackReceiver() as receiver, GuardedClient(LOOPBACK) as client:
        url = receiver.script("/a?x=1", answer(201, {"Set-Cookie": "a=b; Path=/", "X-Told": "yes"}, b"fine"))
        got = await client.request("POST", url, headers={"x-one": "1"}, body=b'{"a":1}')
        await client.request("POST", url, body=b"{}")
    assert (got.status, got.headers["x-told"], got.body) == (201, "yes", b"fine")
    assert receiver.received[0].path == "/a?x=1"
    assert receiver.received[0].headers["x-one"] == "1"
    assert receiver.received[0].body == {"a": 1}
    assert "cookie" not in receiver.received[1].headers


async def test_a_name_is_judged_by_the_address_that_is_connected_to() -> None:
    """DNS that gives an inner address is refused at the connection, whatever the check before it saw."""
    async with CallbackReceiver() as receiver:
        resolver = Resolver(evil=[["127.0.0.1"]])
        async with GuardedClient(resolver=resolver) as client:
            with pytest.raises(OutboundRefused, match=r"127\.0\.0\.1 is a loopback address"):
                await client.request("POST", f"http://evil.example:{receiver.port}/", body=b"{}")
    assert resolver.asked == 1
    assert receiver.received == []


async def test_a_name_with_an_allowed_address_beside_a_refused_one_reaches_the_allowed() -> None:
    """Each address is judged by itself."""
    async with CallbackReceiver() as receiver:
        resolver = Resolver(mixed=[["10.0.0.1", "127.0.0.1"]])
        async with GuardedClient(LOOPBACK, resolver=resolver) as client:
            got = await client.request("GET", f"http://mixed.example:{receiver.port}/")
    assert got.status == 200


async def test_legacy_spellings_reach_nothing_that_is_refused() -> None:
    """A literal that the resolver would expand is refused before the connection."""
    async with GuardedClient() as client:
        for host in ("2130706433", "0x7f.1", "localhost"):
            with pytest.raises(OutboundRefused):
                await client.request("GET", f"http://{host}/")


async def test_redirects_are_not_followed() -> None:
    """The answer is the redirect itself."""
    async with CallbackReceiver() as receiver, GuardedClient(LOOPBACK) as client:
        got = await client.request("POST", receiver.script("/a", redirect(receiver.url + "/b")), body=b"{}")
    assert got.status == 307
    assert [one.path for one in receiver.received] == ["/a"]


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect to addresses that nobody judged."""
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:3128")
    monkeypatch.setenv("http_proxy", "http://192.0.2.1:3128")
    async with CallbackReceiver() as receiver, GuardedClient(LOOPBACK) as client:
        assert (await client.request("GET", receiver.url)).status == 200


async def test_an_endpoint_that_hangs_ends_in_a_timeout() -> None:
    """Also one that sends its headers drop by drop."""
    async with CallbackReceiver() as receiver, GuardedClient(LOOPBACK) as client:
        for behaviour in (receiver.hang, receiver.drip_headers):
            with pytest.raises(OutboundFault, match=r"no answer within 0\.3 s"):
                await client.request("POST", receiver.script("/", behaviour), body=b"{}", timeouts=QUICK)


async def test_a_body_is_cut_at_its_limit_and_at_its_time() -> None:
    """The status has come: an endless or slow body changes nothing."""
    async with CallbackReceiver() as receiver, GuardedClient(LOOPBACK) as client:
        flood = await client.request("POST", receiver.script("/f", receiver.flood), body=b"", max_bytes=1000)
        drip = await client.request("POST", receiver.script("/d", receiver.drip_body), body=b"", timeouts=QUICK)
        none = await client.request("GET", receiver.script("/f", receiver.flood), max_bytes=0)
    assert (flood.status, len(flood.body)) == (200, 1000)
    assert drip.status == 200
    assert 0 < len(drip.body) < 1000
    assert none == Answer(200, none.headers, b"")


async def test_a_packed_body_is_not_unpacked() -> None:
    """The limit counts what comes over the wire, and a bomb stays packed."""
    async with CallbackReceiver() as receiver, GuardedClient(LOOPBACK) as client:
        url = receiver.script("/", answer(200, {"Content-Encoding": "gzip"}, b"not gzip at all"))
        assert (await client.request("GET", url)).body == b"not gzip at all"


async def test_faults_of_the_connection_are_told_without_secrets() -> None:
    """Refused, reset and broken answers are OutboundFault; user, password and query are not in the message."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
    async with CallbackReceiver() as receiver, GuardedClient(LOOPBACK) as client:
        receiver.script("/r?token=secret", receiver.reset)
        for url in (f"http://u:secret@127.0.0.1:{closed}/?token=secret", f"{receiver.url}/r?token=secret"):
            with pytest.raises(OutboundFault) as caught:
                await client.request("POST", url, body=b"{}", timeouts=QUICK)
            assert "secret" not in str(caught.value)


async def test_an_answer_that_is_no_http_is_a_fault() -> None:
    """Whatever speaks another protocol gives a fault, not an exception of a library."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server, GuardedClient(LOOPBACK) as client:
        with pytest.raises(OutboundFault, match="no valid answer"):
            await client.request("GET", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_a_header_with_a_line_break_is_a_fault() -> None:
    """A configured header cannot smuggle another request in."""
    async with CallbackReceiver() as receiver, GuardedClient(LOOPBACK) as client:
        with pytest.raises(OutboundFault):
            await client.request("GET", receiver.url, headers={"x": "a\r\nb: c"})
    assert receiver.received == []


async def test_clients_that_may_reach_different_networks_share_no_connection() -> None:
    """A kept connection of one is never lent to another; the same networks give the same client."""
    async with CallbackReceiver() as receiver, GuardedClients() as clients:
        allowed = await clients.client(LOOPBACK)
        assert (await allowed.request("GET", receiver.url)).status == 200
        assert await clients.client(tuple(reversed(LOOPBACK))) is allowed
        strict = await clients.client()
        with pytest.raises(OutboundRefused):
            await strict.request("GET", receiver.url)
        assert clients.check_literal(receiver.url, LOOPBACK) is None
        assert clients.check_literal(receiver.url) == strict.check_literal(receiver.url) is not None


async def test_a_client_that_is_not_open_says_so() -> None:
    """It is a defect of the caller, not of the endpoint."""
    client: Any = GuardedClient()
    with pytest.raises(RuntimeError, match="not open"):
        await client.request("GET", "http://example.com/")


async def test_names_are_resolved_beside_all_other_work() -> None:
    """A name of this machine reaches it where loopback is allowed."""
    async with CallbackReceiver() as receiver, GuardedClients(LOOPBACK) as clients:
        client = await clients.client()
        assert (await client.request("GET", f"http://localhost:{receiver.port}/")).status == 200


class Names(asyncio.DatagramProtocol):
    """A name server: `there.example` is this machine, `unknown.example` is not, on all others it is silent."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It listens."""
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer, or do not."""
        asked = DNSRecord.parse(data)
        reply, name = asked.reply(), str(asked.q.qname).rstrip(".")
        if name == "there.example" and QTYPE[asked.q.qtype] == "A":
            reply.add_answer(RR(asked.q.qname, QTYPE.A, rdata=A("127.0.0.1"), ttl=0))
        elif name == "unknown.example":
            reply.header.rcode = RCODE.NXDOMAIN
        if name in {"there.example", "unknown.example"}:
            self.transport.sendto(reply.pack(), addr)


@pytest.fixture
async def asking() -> AsyncIterator[AsyncResolver]:
    """A resolver that asks it, as that of guarded clients asks the system's."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Names, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    yield AsyncResolver(nameservers=["127.0.0.1"], udp_port=port, tcp_port=port)
    transport.close()
    await asyncio.sleep(0)


async def test_however_many_name_servers_hang_nobody_waits_for_them(asking: AsyncResolver) -> None:
    """Those requests end in their time, meanwhile another name is found at once, and closing waits for nobody."""
    async with CallbackReceiver() as receiver, GuardedClients(LOOPBACK, resolver=asking) as clients:
        client = await clients.client()
        async with asyncio.TaskGroup() as group:
            hanging = [group.create_task(_fault(client, f"http://h{number}.example/")) for number in range(100)]
            await asyncio.sleep(0.1)
            async with asyncio.timeout(5):
                url = f"http://there.example:{receiver.port}/"
                assert (await client.request("GET", url, timeouts=Timeouts(total_s=5))).status == 200
        assert {task.result() for task in hanging} == {"no answer within 0.3 s"}


async def test_a_name_that_does_not_exist_is_a_fault(asking: AsyncResolver) -> None:
    """It may exist at the next try."""
    async with GuardedClients(resolver=asking) as clients:
        client = await clients.client()
        assert await _fault(client, "http://unknown.example/") == "no connection: Domain name not found"


async def _fault(client: GuardedClient, url: str) -> str:
    with pytest.raises(OutboundFault) as caught:
        await client.request("GET", url, timeouts=QUICK)
    return str(caught.value)
