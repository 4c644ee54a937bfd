"""Reading from an AMQP connection: what came in one piece is taken in one piece, and deliveries go straight to their consumer.

aiormq reads each frame in three awaits, passes it through a queue to a task of the channel, and makes a task for each
delivery, which together cost a worker more than the tasks that it runs. All other frames go aiormq's own way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from struct import Struct
from typing import Any

import pamqp.frame
from aiormq import Connection, spec
from aiormq.exceptions import AMQPConnectionError, ConnectionClosed, InvalidFrameError
from pamqp.constants import FRAME_END
from pamqp.exceptions import PAMQPException
from pamqp.heartbeat import Heartbeat
from yarl import URL

from taskengine.domain.errors import MessageError

_PIECE = 256 * 1024  # bytes that are taken at one time
_HEAD = Struct(">BHI")  # type, channel, size of what follows; an end mark comes after it
_BODY_SIZE = Struct(">4xQ")  # of what follows in a header's frame: class and weight, then bytes
_TAG = Struct(">Q?")  # of a delivery, after the consumer's name: its number, and whether it comes again
_METHOD, _HEADER, _BODY = 1, 2, 3
_DELIVER = spec.Basic.Deliver.index.to_bytes(4, "big")
_SIGN_OF_LIFE = (0, 0, Heartbeat())
_Frame = tuple[int, int, Any]  # as aiormq has them: size, channel, frame


@dataclass(frozen=True, slots=True)
class Delivered:
    """One message as it was delivered."""

    tag: int
    redelivered: bool
    announcement: bytes  # the frame with its properties
    body: bytes

    @property
    def properties(self) -> spec.Basic.Properties:
        """They are read where they are asked for: of most messages nothing but the body is looked at, and they cost a
        worker a tenth of what a task does. MessageError where they cannot be read: a broker passes on what it is given."""
        try:
            header: Any = pamqp.frame.unmarshal(self.announcement)[2]
            properties: spec.Basic.Properties = header.properties
        except Exception as error:  # whatever the library makes of texts, times and depths that it does not expect
            raise MessageError(f"its properties cannot be read: {error}") from error
        return properties


Take = Callable[[Delivered], None]


@dataclass(slots=True)
class _Coming:
    """A delivery of which some frames are there."""

    tag: int
    redelivered: bool
    announcement: bytes = b""
    parts: list[bytes] = field(default_factory=list)
    left: int = 0  # bytes

    def announced(self, frame: bytes) -> None:
        """Its properties, and how long it is."""
        self.announcement = frame
        (self.left,) = _BODY_SIZE.unpack_from(frame, _HEAD.size)

    def add(self, part: bytes) -> None:
        """More of its body."""
        self.parts.append(part)
        self.left -= len(part)

    @property
    def complete(self) -> bool:
        return bool(self.announcement) and self.left <= 0

    def delivered(self) -> Delivered:
        """All of it."""
        return Delivered(self.tag, self.redelivered, self.announcement, b"".join(self.parts))


class DirectConnection(Connection):
    """A connection whose deliveries are given to `takers`, by the number of their channel."""

    def __init__(self, url: URL) -> None:
        super().__init__(url)
        self.takers: dict[int, Take] = {}

    @staticmethod
    async def _rpc(request: Any, writer: Any, frame_receiver: Any, wait_response: bool = True) -> Any:  # noqa: FBT001, FBT002 - the library's
        """As the library has it, but that a broker which closes the connection for an answer (there is no such virtual host)
        is heard: the library says of its reason alone that it is another frame."""
        heard: Any = _Hearing(frame_receiver)
        try:
            return await Connection._rpc(request, writer, heard, wait_response)  # noqa: SLF001 - likewise
        except InvalidFrameError as error:
            if isinstance(heard.last, spec.Connection.Close):
                raise ConnectionClosed(heard.last.reply_text) from error
            raise

    async def _Connection__reader(self, frame_receiver: Any) -> None:  # noqa: N802 - the library's private name
        await super()._Connection__reader(_Frames(frame_receiver.reader, self.takers))  # type: ignore[misc]


class _Hearing:
    """A receiver of frames that keeps the last one."""

    def __init__(self, receiver: Any) -> None:
        self._receiver = receiver
        self.last: Any = None

    async def get_frame(self) -> _Frame:
        """The next one."""
        frame: _Frame = await self._receiver.get_frame()
        self.last = frame[2]
        return frame


class _Frames(AsyncIterator[_Frame]):
    """The frames that are aiormq's. After deliveries alone it gives a heartbeat: the connection is alive."""

    def __init__(self, reader: Any, takers: dict[int, Take]) -> None:
        self._reader, self._takers = reader, takers
        self._piece, self._at = b"", 0
        self._coming: dict[int, _Coming] = {}
        self._took = False

    async def __anext__(self) -> _Frame:
        while True:
            frame = self._next()
            if frame is not None:
                return frame
            if self._took:
                self._took = False
                return _SIGN_OF_LIFE
            await self._read()

    async def _read(self) -> None:
        try:
            more = await self._reader.read(_PIECE)
        except OSError as error:
            raise AMQPConnectionError(f"Server connection error: {error!r}") from error
        if not more:
            raise AMQPConnectionError("Server connection unexpectedly closed")
        self._piece, self._at = self._piece[self._at :] + more, 0

    def _next(self) -> _Frame | None:
        """The next frame that is aiormq's, where it is there; deliveries before it are given away."""
        piece = self._piece
        while len(piece) - self._at >= _HEAD.size:
            kind, channel, size = _HEAD.unpack_from(piece, self._at)
            start = self._at + _HEAD.size
            if len(piece) <= start + size:  # its end mark is not there yet
                return None
            if piece[start + size] != FRAME_END:
                raise InvalidFrameError("a frame has no end mark")
            whole, self._at = self._at, start + size + 1
            take = self._takers.get(channel)
            if take is None or not self._is_delivery(kind, channel, piece[start : start + 4]):
                return size, channel, _unmarshalled(piece[whole : self._at])
            self._took = True
            if kind == _METHOD:
                self._coming[channel] = _Coming(*_TAG.unpack_from(piece, start + 5 + piece[start + 4]))
            elif kind == _HEADER:
                self._coming[channel].announced(piece[whole : self._at])
            else:
                self._coming[channel].add(piece[start : start + size])
            if self._coming[channel].complete:
                take(self._coming.pop(channel).delivered())
        return None

    def _is_delivery(self, kind: int, channel: int, method: bytes) -> bool:
        return method == _DELIVER if kind == _METHOD else channel in self._coming and kind in {_HEADER, _BODY}


def _unmarshalled(frame: bytes) -> Any:
    try:
        return pamqp.frame.unmarshal(frame)[2]
    except PAMQPException as error:
        raise InvalidFrameError(str(error)) from error
