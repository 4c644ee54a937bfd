"""The processes of an installation: `serve` and `worker`, from start to drain."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from taskengine.app.engine import engine
from taskengine.app.workers import build_worker
from taskengine.brokers import open_broker
from taskengine.clock import SystemClock
from taskengine.settings import Settings
from taskengine.storage.scratch import remove_stale

log = structlog.get_logger(__name__)

_SWITCH_S = 0.0005  # the store's thread gives the interpreter up at each statement; the usual 5 ms starve it


async def serve(settings: Settings, *, workers: bool = True, ready: Callable[[str], None] | None = None) -> None:
    """Host the engine until SIGTERM or SIGINT, then drain. `ready` is called with the URL once it listens."""
    sys.setswitchinterval(_SWITCH_S)
    with _signals() as stopping:
        async with engine(settings, workers=workers, http=True) as running:
            if ready is not None and running.url is not None:
                ready(running.url)
            await stopping.wait()
            log.info("draining")


async def work(settings: Settings, queues: Mapping[str, int]) -> None:
    """Be a pool of workers until SIGTERM or SIGINT, then drain. It knows the broker and the storages alone."""
    await remove_stale(settings.scratch)
    with _signals() as stopping:
        async with open_broker(str(settings.broker_url)) as broker, asyncio.TaskGroup() as group:
            worker = build_worker(settings, broker, SystemClock(), queues)
            group.create_task(worker.run())
            await stopping.wait()
            worker.drain()


@contextmanager
def _signals() -> Iterator[asyncio.Event]:
    """An event that the first signal sets; the second ends the process at once (its children die with it)."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def on_signal(number: int) -> None:
        if stopping.is_set():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + number)
        stopping.set()

    numbers = (signal.SIGTERM, signal.SIGINT)
    if sys.platform == "win32":  # no handlers on its loops
        for number in numbers:
            signal.signal(number, lambda n, _: loop.call_soon_threadsafe(on_signal, n))
        yield stopping
        return
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield stopping
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
