"""How far a body has come: which bytes of it are wanted, how many may be, and how fast they must."""

from __future__ import annotations

import re
import time

import aiohttp

from taskengine.domain.errors import InputFault
from taskengine.net.client import OutboundFault
from taskengine.ports import ByteRange

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)", re.ASCII)


class Part:
    """The wanted bytes of a body; one that breaks off goes on from `have`, if the server says that it is the same."""

    def __init__(self, wanted: ByteRange, limit: int) -> None:
        self.limit = limit
        self.have = 0
        self._start, self._length = wanted.start, wanted.length
        self._skip = 0  # bytes before the wanted ones, where the server gives the whole
        self._validator = ""  # of the body that `have` is of

    @property
    def filled(self) -> bool:
        """Whether all that was asked for is there, however much there is behind it."""
        return self._length is not None and self.have >= self._length

    def request_headers(self) -> dict[str, str]:
        """What asks for the bytes that are not there yet."""
        if self.have and not self._validator:
            self.have = 0
        first = self._start + self.have
        if first == 0 and self._length is None:
            return {}
        last = "" if self._length is None else self._start + self._length - 1
        condition = {"If-Range": self._validator} if self.have else {}
        return {"Range": f"bytes={first}-{last}", **condition}

    def begin(self, response: aiohttp.ClientResponse) -> None:
        """Judge an answer's headers: where the wanted bytes are in it, and whether they are too many."""
        if response.status == 206:
            self._judge_range(response)
        elif response.status == 416:
            raise InputFault("has no such range of bytes")
        else:
            self.have, self._skip = 0, self._start
        self._validator = _validator(response)
        announced = response.content_length
        if self._length is None and announced is not None and self.have + announced - self._skip > self.limit:
            raise self._too_much()

    def take(self, chunk: bytes) -> bytes:
        """What of the next bytes is wanted; InputFault where they are too many."""
        skipped = min(self._skip, len(chunk))
        self._skip -= skipped
        wanted = chunk[skipped:]
        if self._length is not None:
            wanted = wanted[: self._length - self.have]
        self.have += len(wanted)
        if self.have > self.limit:
            raise self._too_much()
        return wanted

    def judge_end(self) -> None:
        """The body is over: InputFault where wanted bytes are missing."""
        if self._skip or (self._length is not None and self.have < self._length):
            raise InputFault(f"has {self.have} of the {self._length or 'wanted'} bytes")

    def _judge_range(self, response: aiohttp.ClientResponse) -> None:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != self._start + self.have:
            self.have = 0
            raise OutboundFault("answered another range of bytes than was asked for")
        self._skip = 0

    def _too_much(self) -> InputFault:
        return InputFault(f"is larger than the {self.limit} bytes that are allowed")


class Pace:
    """Judges a body's speed over windows of time."""

    def __init__(self, least_bytes_per_s: float, window_s: float) -> None:
        self._least, self._window_s = least_bytes_per_s * window_s, window_s
        self._began, self._came = time.monotonic(), 0

    def came(self, count: int) -> None:
        """So many bytes came; OutboundFault where the window that ends with them had too few."""
        self._came += count
        now = time.monotonic()
        if now - self._began < self._window_s:
            return
        if self._came < self._least:
            raise OutboundFault(f"sent {self._came} bytes in {now - self._began:.0f} s: too slow")
        self._began, self._came = now, 0


def _validator(response: aiohttp.ClientResponse) -> str:
    """What tells this body from a later one at the same URL; "" where the server says nothing that is certain."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")
