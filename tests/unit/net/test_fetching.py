"""Fetching documents and large bodies for tasks: limits, redirects, what breaks off, what is tried again."""

from __future__ import annotations

import asyncio
import base64
import gzip
import random
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from taskengine.domain.errors import InputFault, InternalFault, ResourceFault
from taskengine.net import Fetcher, GuardedClients, Patience, Timeouts, networks
from taskengine.ports import ByteRange
from tests.support.receiver import CallbackReceiver, answer, redirect

LOOPBACK = networks(["127.0.0.0/8"])
QUICK = Patience(Timeouts(total_s=20, connect_s=20, body_s=20), tries=3, pause_s=0)  # with its retries
SHORT = Timeouts(total_s=0.5, connect_s=0.5, body_s=0.2)
BODY = random.Random(7).randbytes(2_000_000)


class Film:
    """A body that breaks off after so many bytes, once for each number; ranges are answered where `ranges` says so."""

    def __init__(self, *breaks: int, ranges: bool = True, tag: str = '"one"') -> None:
        self.breaks, self.ranges, self.tag = list(breaks), ranges, tag
        self.asked: list[Mapping[str, str]] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        self.asked.append({name.lower(): value for name, value in request.headers.items()})
        first, same = 0, request.headers.get("If-Range", self.tag) == self.tag
        response = web.StreamResponse(headers={"ETag": self.tag} if self.tag else {})
        if self.ranges and same and "Range" in request.headers:
            asked = request.http_range
            first, last = asked.start or 0, min(asked.stop or len(BODY), len(BODY))
            response.set_status(206)
            response.headers["Content-Range"] = f"bytes {first}-{last - 1}/{len(BODY)}"
        body = BODY[first:]
        response.content_length = len(body)
        await response.prepare(request)
        stop = self.breaks.pop(0) if self.breaks else len(body)
        await response.write(body[:stop])
        if stop < len(body) and request.transport is not None:
            request.transport.close()
        return response


@pytest.fixture
async def receiver() -> AsyncIterator[CallbackReceiver]:
    """A server."""
    async with CallbackReceiver() as running:
        yield running


@pytest.fixture
async def clients() -> AsyncIterator[GuardedClients]:
    """Guarded clients that allow nothing by themselves."""
    async with GuardedClients() as made:
        yield made


@pytest.fixture
def fetcher(clients: GuardedClients) -> Fetcher:
    """A fetcher that may reach the server."""
    return Fetcher(clients, LOOPBACK, patience=QUICK)


async def test_a_document_comes_with_where_it_came_from(receiver: CallbackReceiver, fetcher: Fetcher) -> None:
    """Behind redirects, relative ones too, the URL is that of the last server."""
    receiver.script("/a", redirect("/b?x=1", 302))
    receiver.script("/b?x=1", answer(200, {"X-Told": "yes"}, b"#EXTM3U"))
    got = await fetcher.get(receiver.url + "/a")
    assert (got.url, got.status, got.body) == (receiver.url + "/b?x=1", 200, b"#EXTM3U")
    assert got.headers["X-Told"] == "yes"


async def test_what_is_refused_is_not_reached_by_a_redirect_either(
    receiver: CallbackReceiver, clients: GuardedClients
) -> None:
    """Every hop is judged; the fault names the first URL alone, without its secrets."""
    fetcher = Fetcher(clients, networks(["127.0.0.1"]), patience=QUICK)
    canary = receiver.script("/canary", 200).replace("127.0.0.1", "127.0.0.2")
    for target in (canary, "http://169.254.169.254/latest", "http://[::ffff:127.0.0.2]/", "file:///etc/passwd"):
        url = receiver.script("/a?token=secret", redirect(target, 302))
        with pytest.raises(InputFault, match=r"http://127\.0\.0\.1:\d+/a: ") as caught:
            await fetcher.get(url)
        assert "secret" not in str(caught.value)
    assert "/canary" not in [one.path for one in receiver.received]


async def test_headers_for_one_server_are_not_sent_to_another(receiver: CallbackReceiver, fetcher: Fetcher) -> None:
    """A redirect takes no credentials along."""
    async with CallbackReceiver() as other:
        url = receiver.script("/a", redirect("/b", 301))
        receiver.script("/b", redirect(other.script("/c", answer(200, body=b"abcd")), 307))
        await fetcher.get(url, headers={"authorization": "Bearer x"}, part=ByteRange(0, 4))
        assert [one.headers.get("authorization") for one in receiver.received] == ["Bearer x"] * 2
        assert "authorization" not in other.received[0].headers
        assert other.received[0].headers["range"] == "bytes=0-3"


@pytest.mark.parametrize("absolute", [False, True])
async def test_credentials_of_a_url_go_with_it_as_far_as_its_server(
    receiver: CallbackReceiver, fetcher: Fetcher, *, absolute: bool
) -> None:
    """Over redirects, and to what relative references in the document mean; not to another server."""
    async with CallbackReceiver() as other:
        receiver.script("/a", redirect(f"{receiver.url if absolute else ''}/b", 302))
        secret = receiver.url.replace("//", "//us%40er:p%2Fw@")
        document = await fetcher.get(f"{secret}/a")
        await fetcher.get(str(URL(document.url).join(URL("segment.ts"))))
        receiver.script("/c", redirect(other.url + "/d", 302))
        beyond = await fetcher.get(f"{secret}/c")
        told = [(one.path, one.headers.get("authorization")) for one in (*receiver.received, *other.received)]
        basic = "Basic " + base64.b64encode(b"us@er:p/w").decode()
        assert told == [("/a", basic), ("/b", basic), ("/segment.ts", basic), ("/c", basic), ("/d", None)]
        assert beyond.url == other.url + "/d"


async def test_redirects_are_followed_a_few_times(receiver: CallbackReceiver, fetcher: Fetcher) -> None:
    """A circle ends."""
    with pytest.raises(InputFault, match="redirected more than 5 times"):
        await fetcher.get(receiver.script("/a", redirect("/a", 302)))
    assert len(receiver.received) == 6


@pytest.mark.parametrize("location", ["", "http://[::1", "http://user:pass@/"])
async def test_a_redirect_to_nowhere_is_a_fault_of_the_input(
    receiver: CallbackReceiver, fetcher: Fetcher, location: str
) -> None:
    """Whatever it says."""
    with pytest.raises(InputFault):
        await fetcher.get(receiver.script("/a", redirect(location, 302)))


async def test_what_may_pass_is_tried_again_and_what_may_not_is_not(
    receiver: CallbackReceiver, fetcher: Fetcher
) -> None:
    """503 then 200 is 200; 404 is the input's fault at once; for ever 500 is worth another try of the task."""
    receiver.script("/a", 503, receiver.reset, answer(200, body=b"ok"))
    assert (await fetcher.get(receiver.url + "/a")).body == b"ok"
    with pytest.raises(InputFault, match="answered 404"):
        await fetcher.get(receiver.script("/b", 404))
    with pytest.raises(InternalFault, match="answered 500"):
        await fetcher.get(receiver.script("/c", 500))
    assert [one.path for one in receiver.received] == ["/a"] * 3 + ["/b"] + ["/c"] * 3


async def test_an_answer_that_does_not_come_or_drips_ends(receiver: CallbackReceiver, clients: GuardedClients) -> None:
    """Silence, headers byte by byte, and a body that is slower than the least."""
    patience = Patience(SHORT, least_bytes_per_s=10_000, window_s=0.1, tries=1)
    fetcher = Fetcher(clients, LOOPBACK, patience=patience)
    for behaviour, reason in (
        (receiver.hang, "no answer within"), (receiver.drip_headers, "no answer within"), (receiver.drip_body, "too slow"),
        (_silent_after_headers, "nothing came for"),
    ):  # fmt: skip
        with pytest.raises(InternalFault, match=reason):
            await fetcher.get(receiver.script("/", behaviour))


async def _silent_after_headers(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"x")
    await asyncio.Event().wait()  # until the connection's end ends it
    return response


async def test_more_than_is_allowed_is_a_fault_of_the_input(
    receiver: CallbackReceiver, fetcher: Fetcher, tmp_path: Path
) -> None:
    """Announced or endless, in memory or in a file; nothing is left behind."""
    for behaviour in (receiver.flood, answer(200, body=b"x" * 2000)):
        url = receiver.script("/", behaviour)
        with pytest.raises(InputFault, match="larger than the 1000 bytes"):
            await fetcher.get(url, max_bytes=1000)
        with pytest.raises(InputFault, match="larger than the 1000 bytes"):
            await fetcher.download(url, tmp_path / "x", max_bytes=1000)
    assert not list(tmp_path.iterdir())


def _packed(data: bytes) -> Iterator[tuple[str, bytes]]:
    yield "gzip", gzip.compress(data)
    yield "deflate", zlib.compress(data)


async def test_a_packed_document_is_unpacked_within_its_limit(receiver: CallbackReceiver, fetcher: Fetcher) -> None:
    """A bomb of 100 MB is not, nor what is packed in another way than it says."""
    for encoding, body in _packed(b"#EXTM3U"):
        url = receiver.script("/", answer(200, {"Content-Encoding": encoding}, body))
        assert (await fetcher.get(url)).body == b"#EXTM3U"
    for encoding, body in _packed(bytes(100_000_000)):
        with pytest.raises(InputFault, match="larger than the 100000 bytes"):
            await fetcher.get(
                receiver.script("/", answer(200, {"Content-Encoding": encoding}, body)), max_bytes=100_000
            )
    for encoding, reason in (("br", "is packed as 'br'"), ("gzip", "not packed as it says")):
        with pytest.raises(InputFault, match=reason):
            await fetcher.get(receiver.script("/", answer(200, {"Content-Encoding": encoding}, b"plain text")))


async def test_a_download_that_breaks_off_goes_on_from_there(
    receiver: CallbackReceiver, fetcher: Fetcher, tmp_path: Path
) -> None:
    """With a range of the same body; the file is whole."""
    film, told = Film(900_000, 600_000), list[int]()
    url, target = receiver.script("/f", film), tmp_path / "f.mp4"
    got = await fetcher.download(url, target, max_bytes=len(BODY), on_bytes=told.append)
    assert target.read_bytes() == BODY
    assert (got.size, told[-1]) == (len(BODY), len(BODY))
    first, *others = film.asked
    assert "range" not in first
    starts = [int(asked["range"].removeprefix("bytes=").removesuffix("-")) for asked in others]
    assert 0 < starts[0] <= 900_000
    assert starts[0] < starts[1] <= 1_500_000
    assert {asked["if-range"] for asked in others} == {'"one"'}


@pytest.mark.parametrize("film", [Film(900_000, ranges=False), Film(900_000, tag=""), Film(900_000, tag='W/"weak"')])
async def test_a_download_begins_anew_where_it_cannot_go_on(
    receiver: CallbackReceiver, fetcher: Fetcher, tmp_path: Path, film: Film
) -> None:
    """The server knows no ranges, or does not say that the body is still the same."""
    await fetcher.download(receiver.script("/f", film), tmp_path / "f", max_bytes=len(BODY))
    assert (tmp_path / "f").read_bytes() == BODY


async def test_a_body_that_has_changed_meanwhile_is_not_joined_to_the_old(
    receiver: CallbackReceiver, fetcher: Fetcher, tmp_path: Path
) -> None:
    """It begins anew."""
    film = Film(900_000)

    async def changing(request: web.Request) -> web.StreamResponse:
        if film.asked:
            film.tag = '"two"'
        return await film(request)

    await fetcher.download(receiver.script("/f", changing), tmp_path / "f", max_bytes=len(BODY))
    assert (tmp_path / "f").read_bytes() == BODY


@pytest.mark.parametrize("ranges", [True, False])
async def test_a_part_of_a_body_is_fetched_alone(
    receiver: CallbackReceiver, fetcher: Fetcher, tmp_path: Path, *, ranges: bool
) -> None:
    """From a server that does not know ranges too, and whether it breaks off or not."""
    url = receiver.script("/f", Film(50, ranges=ranges))
    assert (await fetcher.get(url, part=ByteRange(300, 20))).body == BODY[300:320]
    await fetcher.download(
        receiver.script("/f", Film(350, ranges=ranges)), tmp_path / "f", part=ByteRange(300, 100), max_bytes=100
    )
    assert (tmp_path / "f").read_bytes() == BODY[300:400]
    with pytest.raises(InputFault, match=r"range|of the"):
        await fetcher.get(
            receiver.script("/s", answer(416) if ranges else answer(200, body=b"short")), part=ByteRange(9, 9)
        )


async def test_a_download_that_fails_for_good_leaves_no_file(
    receiver: CallbackReceiver, fetcher: Fetcher, tmp_path: Path
) -> None:
    """Nobody takes a part for the whole."""
    with pytest.raises(InternalFault):
        await fetcher.download(receiver.script("/f", Film(10, 10, 10, 10)), tmp_path / "f", max_bytes=len(BODY))
    assert not list(tmp_path.iterdir())


async def test_a_file_that_cannot_be_written_is_a_lack_of_this_machine(
    receiver: CallbackReceiver, fetcher: Fetcher, tmp_path: Path
) -> None:
    """A full disk is no fault of the source."""
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(ResourceFault, match="No space left"):
        await fetcher.download(receiver.script("/f", Film()), full, max_bytes=len(BODY))


async def test_a_post_carries_its_body_once(receiver: CallbackReceiver, fetcher: Fetcher) -> None:
    """It is neither repeated nor redirected."""
    url = receiver.script("/keys", answer(200, body=b"<CPIX/>"), 503, redirect("/other"))
    got = await fetcher.post(url, b"<ask/>", headers={"x-api-key": "k"})
    assert (got.body, receiver.raw[0], receiver.received[0].headers["x-api-key"]) == (b"<CPIX/>", b"<ask/>", "k")
    with pytest.raises(InternalFault, match="answered 503"):
        await fetcher.post(url, b"<ask/>")
    with pytest.raises(InputFault, match="answered 307"):
        await fetcher.post(url, b"<ask/>")
    assert [one.path for one in receiver.received] == ["/keys"] * 3
