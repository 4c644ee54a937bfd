"""A TCP proxy with faults: it delays, cuts, resets, refuses, and swallows what passes between a process and a server."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit

_PIECE = 64 * 1024


class FaultProxy:
    """Listens on a port of its own for one server. Faults hold for connections that are open and for those to come."""

    def __init__(self, target_port: int, target_host: str = "127.0.0.1") -> None:
        self._target = (target_host, target_port)
        self._server: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self.delay_s = 0.0  # of each piece, in each direction
        self.watch: Callable[[bytes], bool] | None = None  # cuts a connection as soon as the server was sent this
        self.cuts = 0  # by `watch`

    async def start(self) -> None:
        """Listen (again), on the port that it had before if it had one."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Let nobody connect any more, as where no process listens; what is open is reset."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    async def close(self) -> None:
        """End everything."""
        await self.refuse()
        self._open.set()
        while self._pairs:  # noqa: ASYNC110 - each leaves when it has closed its sockets
            await asyncio.sleep(0.01)

    def cut(self) -> None:
        """End every connection in order (FIN), whatever was on its way."""
        for pair in list(self._pairs):
            pair.end(reset=False)

    def reset(self) -> None:
        """End every connection at once (RST)."""
        for pair in list(self._pairs):
            pair.end(reset=True)

    def black_hole(self) -> None:
        """From now on nothing passes and nobody hears of it: connections stay open, new ones are accepted."""
        self._open.clear()

    def heal(self) -> None:
        """Let pass what was held back, and all that follows."""
        self._open.set()

    def through(self, url: str) -> str:
        """A URL of the server, by way of this proxy."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}127.0.0.1:{self.port}"))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        pair = _Pair(writer)
        self._pairs.add(pair)
        try:
            await self._open.wait()
            there, back = await asyncio.open_connection(*self._target)
            pair.writers.append(back)
            pumps = [
                asyncio.ensure_future(self._pump(reader, back, pair, self._seen)),
                asyncio.ensure_future(self._pump(there, writer, pair, None)),
            ]
            await asyncio.wait([*pumps, pair.over], return_when=asyncio.FIRST_COMPLETED)
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
        except OSError:
            pass  # the server is not there: the client sees its connection closed
        finally:
            pair.end(reset=False)
            self._pairs.discard(pair)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pair: _Pair,
        look: Callable[[bytes], bool] | None,
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(_PIECE):
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._open.wait()
                writer.write(piece)
                await writer.drain()
                if look is not None and look(piece):
                    await asyncio.sleep(0.05)  # the server reads it before it sees the end
                    pair.end(reset=True)

    def _seen(self, piece: bytes) -> bool:
        if self.watch is None or not self.watch(piece):
            return False
        self.cuts += 1
        return True


class _Pair:
    """Both ends of one connection."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writers = [writer]
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end(self, *, reset: bool) -> None:
        """Close both ends."""
        for writer in self.writers:
            if reset:
                with suppress(OSError, AttributeError):
                    no_linger = struct.pack("ii", 1, 0)
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
                writer.transport.abort()
            else:
                writer.close()
        if not self.over.done():
            self.over.set_result(None)


@asynccontextmanager
async def fault_proxy(url: str) -> AsyncIterator[FaultProxy]:
    """A proxy for the server at `url`, gone at the end."""
    parts = urlsplit(url)
    proxy = FaultProxy(parts.port or 0, parts.hostname or "127.0.0.1")
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
