"""No URL that a client gives leads where it must not: a canary on loopback is never reached, by whatever way.

Each way out of the engine is tried with each spelling, name, redirect and change of mind of a name server. The name server
is the test's own, and nothing leaves loopback.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from taskengine.callbacks.config import EndpointConfig
from taskengine.callbacks.semaphore import HttpSemaphoreProbe
from taskengine.callbacks.sender import HttpCallbackSender
from taskengine.clock import SystemClock
from taskengine.domain.errors import InvalidRequest, TaskFailed
from taskengine.engine.submissions import Submission
from taskengine.net import Fetcher, GuardedClients, Patience, Timeouts, networks
from taskengine.ports import DueCallback
from tests.support.api import World, api_world, shared_catalog
from tests.support.engine import bench, settings_for
from tests.support.receiver import CallbackReceiver, redirect

ROOT = Path(__file__).parents[2]
QUICK = Timeouts(total_s=2, connect_s=2, body_s=0.5)
DECOY = "127.0.0.2"  # which the installation allows; the canary's own address it does not
ALLOWED = networks([f"{DECOY}/32"])
SPELLINGS = (
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0.0.1", "017700000001", "0177.0.0.1",
    "127.0.0.1.", "0", "0.0.0.0", "localhost", "LOCALHOST", "localhost.", "a.localhost", "[::1]", "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[::ffff:0:127.0.0.1]", "[2002:7f00:1::]",
    "[fe80::1%25lo]", "\uff11\uff12\uff17.\uff10.\uff10.\uff11", "\u2460\u2461\u2466.0.0.1", "user:pass@127.0.0.1", "127.0.0.2@127.0.0.1",
    "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "127.0.0.1%00.example", "[64:ff9b:1::7f00:1]", "[2001:0:7f00:1::]",
    "[2001:db8::5efe:7f00:1]", "[::ffff:127.0.0.1%25lo]", "127.0.0.1%20", "127.0.0.1%09",
    "169.254.169.254", "[fd00:ec2::254]", "168.63.129.16", "100.100.100.200", "0xa9fea9fe", "10.0.0.1", "192.168.1.1",
)  # fmt: skip
OTHER_SCHEMES = (
    "file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1:{port}/_GET", "ws://127.0.0.1:{port}/", "data:,x",
    "dict://127.0.0.1:{port}/", "//127.0.0.1:{port}/", "http:/127.0.0.1:{port}/", "unix:///run/x.sock", "javascript:0",
)  # fmt: skip
ODD_PORTS = (0, 22, 25, 6379, 65536, -1)


@dataclass
class NameServer(AbstractResolver):
    """Answers names from a list of answers each, the last one for ever; it stands where DNS is asked."""

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The next addresses of a name."""
        self.asked.append(host)
        if host not in self.names:
            raise OSError(None, "Domain name not found")
        turns = self.names[host]
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


@dataclass
class Place:
    """A canary that must not be reached, a decoy beside it that may, and what resolves names."""

    canary: CallbackReceiver
    decoy: CallbackReceiver
    names: NameServer
    clients: GuardedClients

    @property
    def port(self) -> int:
        """Of both: a name that changes its mind keeps its port."""
        return self.canary.port


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    """All of it."""
    names = NameServer()
    async with (
        CallbackReceiver() as canary,
        CallbackReceiver(host=DECOY, port=canary.port) as decoy,
        GuardedClients(ALLOWED, resolver=names) as clients,
    ):
        yield Place(canary, decoy, names, clients)
        assert canary.received == []


Way = Callable[[Place, str], Awaitable[object]]


async def _config(client: str, url: str) -> EndpointConfig:
    return EndpointConfig()


async def callback(place: Place, url: str) -> object:
    """A callback."""
    due = DueCallback(1, 1, "demo", url, "start", "msg_1", "{}", 0, 0, 0, 0)
    return await HttpCallbackSender(place.clients, _config, SystemClock(), timeouts=QUICK).send(due)


async def semaphore(place: Place, url: str) -> object:
    """A semaphore."""
    return await HttpSemaphoreProbe(place.clients, _config, timeouts=QUICK).open(url, "demo")


def _fetcher(place: Place) -> Fetcher:
    return Fetcher(place.clients, patience=Patience(QUICK, tries=2, pause_s=0))


async def document(place: Place, url: str) -> object:
    """A source, playlist or key."""
    return await _fetched(_fetcher(place).get(url))


async def keys(place: Place, url: str) -> object:
    """A key service."""
    return await _fetched(_fetcher(place).post(url, b"<cpix/>"))


async def download(place: Place, url: str) -> object:
    """A segment."""
    return await _fetched(_fetcher(place).download(url, Path("/nonexistent/never-written"), max_bytes=100))


async def _fetched(fetch: Awaitable[object]) -> object:
    try:
        return await fetch
    except TaskFailed as fault:
        return fault


WAYS: Mapping[str, Way] = {way.__name__: way for way in (callback, semaphore, document, keys, download)}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())


@ways
async def test_no_spelling_of_an_inner_address_is_called(place: Place, way: Way) -> None:
    """Nor another scheme, nor an odd port of one."""
    urls = [f"http://{host}:{place.port}/" for host in SPELLINGS]
    urls += [f"HTTP://{host}:{place.port}/?x=http://{DECOY}/" for host in SPELLINGS[:4]]
    urls += [url.format(port=place.port) for url in OTHER_SCHEMES]
    urls += [f"http://127.0.0.1:{port}/" for port in ODD_PORTS]
    for url in urls:
        told = await way(place, url)
        assert "answered 200" not in str(told), url
    assert place.canary.received == []


@ways
async def test_no_name_leads_to_an_inner_address(place: Place, way: Way) -> None:
    """Whatever the name server says, of either family, alone or beside what may be called."""
    inner = ("127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "0.0.0.0", "10.0.0.1", "169.254.169.254", "::")
    for number, address in enumerate(inner):
        place.names.names[f"n{number}.example"] = [[address]]
        place.names.names[f"m{number}.example"] = [[address, "127.0.0.1"]]
    place.names.names["127.0.0.1.nip.example"] = [["127.0.0.1"]]
    for name in place.names.names:
        await way(place, f"http://{name}:{place.port}/")
    assert len(place.names.asked) >= len(place.names.names)
    assert (place.canary.received, place.decoy.received) == ([], [])


@ways
async def test_a_name_that_changes_its_mind_is_judged_by_where_it_leads_now(place: Place, way: Way) -> None:
    """First to what may be called, then to the canary: between two calls, each of which asks anew, and within one."""
    names = place.names
    names.names["rebind.example"] = [[DECOY], ["127.0.0.1"]]
    names.names["both.example"] = [[DECOY, "127.0.0.1"], ["127.0.0.1", DECOY]]
    for number in range(3):
        for host in ("rebind.example", "both.example"):
            async with GuardedClients(
                ALLOWED, resolver=names
            ) as clients:  # which remember no name and keep no connection
                await way(replace(place, clients=clients), f"http://{host}:{place.port}/")
        if number == 0:  # it may reach the decoy, to see that the way is open
            assert len(place.decoy.received) == 2 or way is download
    assert names.names == {"rebind.example": [["127.0.0.1"]], "both.example": [["127.0.0.1", DECOY]]}
    assert min(names.asked.count(host) for host in names.names) >= 3
    assert place.canary.received == []


@ways
async def test_no_redirect_leads_to_an_inner_address(place: Place, way: Way) -> None:
    """By whatever status, to whatever spelling or name."""
    place.names.names["inner.example"] = [["127.0.0.1"]]
    targets = [f"http://{host}:{place.port}/" for host in (*SPELLINGS, "inner.example")]
    targets += [f"//127.0.0.1:{place.port}/", *(url.format(port=place.port) for url in OTHER_SCHEMES)]
    for number, target in enumerate(targets):
        status = (301, 302, 303, 307, 308)[number % 5]
        if target.isascii():
            await way(place, place.decoy.script(f"/{number}", redirect(target, status)))
    assert place.canary.received == []
    assert len(place.decoy.received) >= len(SPELLINGS) - 2


_OWN_RESOLVER = 'echo "nameserver 127.0.0.1" >"$0" && mount --bind "$0" /etc/resolv.conf && exec "$@"'


def test_what_a_real_name_server_says_leads_to_no_inner_address(tmp_path: Path) -> None:
    """Over DNS and as the system is set up, in a network of its own: names of inner addresses, one that changes its mind
    between two questions, and one that gives the inner address first. Names that it never answers hold up no other."""
    apart = ["unshare", "--map-root-user", "--mount", "--net", "sh", "-c", _OWN_RESOLVER, str(tmp_path / "resolv.conf")]
    if not shutil.which("unshare") or subprocess.run([*apart, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives nobody a network of their own")
    done = subprocess.run(
        [*apart, sys.executable, "-m", "tests.support.rebinding"],
        capture_output=True, text=True, cwd=ROOT, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["asked"] == dict.fromkeys(("inner.example", "rebind.example", "both.example"), 3) | {"outer.example": 4}
    assert told["canary"] == 0
    assert told["beside_hanging_s"] < 3
    assert told["told"]["outer.example"] == told["told"]["both.example"] == ["200"] * 3
    first, *later = told["told"]["rebind.example"]
    assert first == "200"
    assert all("127.0.0.1 is a loopback address" in one for one in later)
    assert all("is a loopback address" in one for one in told["told"]["inner.example"])


# ------------------------------------------------------------------------------------------ fields of workflows


def uri_fields(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Where a schema has URLs: the names, `*` for the items of a list."""
    if not isinstance(schema, Mapping):
        return
    if schema.get("format") == "uri" and "x-not-fetched" not in schema:
        yield path
    for name, inner in (schema.get("properties") or {}).items():
        yield from uri_fields(inner, (*path, name))
    yield from uri_fields(schema.get("items"), (*path, "*"))


def _given(path: tuple[str, ...], url: str) -> Any:
    """A value with the URL at its place."""
    if not path:
        return url
    return [_given(path[1:], url)] if path[0] == "*" else {path[0]: _given(path[1:], url)}


def _fields() -> list[tuple[str, tuple[str, ...]]]:
    catalog = shared_catalog()
    loaded = [(name, catalog.get(name, "")) for name in catalog.names("")]
    return [(name, path) for name, one in loaded if one is not None for path in uri_fields(one.workflow.schema)]


def test_every_published_workflow_has_its_url_fields_tried() -> None:
    """Endpoints in all of them, sources where there are some: the schemas are read, not a list."""
    found = {(name, ".".join(path)) for name, path in _fields()}
    assert {name for name, path in found if path == "rest_endpoints.*"} >= {
        "vodstream", "vodcapture", "voddelete", "drmswitch", "createmp4", "build_thumbnails", "generate_gif",
        "capture_frame", "asset_delete", "trickplay", "vodremix", "vodnpvr", "mediatailor_channel_assembly",
        "mediatailor_channel_state",
    }  # fmt: skip
    assert found >= {
        ("vodcapture", "clips.*.source"), ("vodcapture", "clips.*.sources.*"), ("build_thumbnails", "source"),
        ("mediatailor_channel_assembly", "clips.*.markers.meta_events.*.slate"),
    }  # fmt: skip


async def test_a_literal_in_any_url_field_is_refused_at_submission(tmp_path: Path) -> None:
    """Each field of each workflow, and the semaphore: the fault is at the field's own path and names the setting."""
    async with api_world(tmp_path) as world:
        for workflow, path in _fields():
            for host in ("127.0.0.1", "2130706433", "[::ffff:7f00:1]", "localhost", "169.254.169.254", "0x7f.1"):
                faults = await _faults(world, Submission("demo", workflow, _given(path, f"http://{host}:8080/")))
                pointer = "/parameters/" + "/".join("0" if part == "*" else part for part in path)
                assert "TASKENGINE_OUTBOUND_ALLOW" in faults.get(pointer, ""), (workflow, path, host)
        faults = await _faults(world, Submission("demo", "chain", {}, semaphore_url="http://127.1:8080/"))
        assert "TASKENGINE_OUTBOUND_ALLOW" in faults["/job/semaphore_url"]


async def _faults(world: World, submission: Submission) -> Mapping[str, str]:
    with pytest.raises(InvalidRequest) as caught:
        await world.services.jobs.submit(submission)
    return {fault.path: fault.message for fault in caught.value.faults}


async def test_a_whole_engine_calls_no_inner_address_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callbacks and semaphores of jobs that name a host of an inner address: the canary is not reached, the log says why."""
    names = NameServer()
    monkeypatch.setattr("taskengine.net.pools.AsyncResolver", lambda: names)
    names.names["inner.example"] = [["127.0.0.1"]]
    settings = settings_for(tmp_path, outbound_allow=[f"{DECOY}/32"])
    async with CallbackReceiver() as canary, CallbackReceiver(host=DECOY, port=canary.port) as decoy:
        names.names["outer.example"] = [[DECOY], ["127.0.0.1"]]
        async with bench(settings, canary) as world:
            urls = [f"http://{host}.example:{canary.port}/cb" for host in ("inner", "outer")]
            jobs = world.engine.jobs
            given = {"content_id": "c", "x": 1, "rest_endpoints": urls}
            made = await jobs.submit(Submission("demo", "chain", given))
            await jobs.submit(Submission("demo", "chain", {"content_id": "c"}, semaphore_url=urls[0]))
            await decoy.wait_for(1)
            async with asyncio.timeout(15):
                while not any("refused: 127.0.0.1" in text for text in await _log(world, int(made["id"]))):
                    pass
        assert canary.received == []


async def _log(world: Any, job_id: int) -> list[str]:
    return [entry["message"] for entry in await world.engine.store.logs(job_id, show_all=True)]
