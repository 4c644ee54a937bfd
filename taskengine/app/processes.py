"""The processes of an installation: `serve` and `worker`, from start to drain."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager

import structlog

from taskengine.app.engine import engine
from taskengine.app.folders import doubt_workspace, prepare_scratch
from taskengine.app.starting import enter
from taskengine.app.traces import tracing
from taskengine.app.workers import build_worker
from taskengine.brokers import open_broker
from taskengine.clock import SystemClock
from taskengine.domain.errors import BrokerUnavailable
from taskengine.net import GuardedClients
from taskengine.ports import Broker
from taskengine.settings import Settings
from taskengine.storage.registry import settled
from taskengine.system import STOPPING, caught

log = structlog.get_logger(__name__)

_SWITCH_S = 0.0005  # the store's thread gives the interpreter up at each statement; the usual 5 ms starve it
_COLLECTION = (10_000, 20, 20)  # new objects until the young are looked at; of those looks until the older are


async def serve(settings: Settings, *, workers: bool = True, ready: Callable[[str], None] | None = None) -> None:
    """Host the engine until a signal asks it to end, then drain. `ready` is called with the URL once it listens."""
    sys.setswitchinterval(_SWITCH_S)
    with _signals() as stopping:
        async with engine(settings, workers=workers, http=True) as running:
            stopping.started = True
            _keep_what_is_loaded()
            if ready is not None and running.url is not None:
                ready(running.url)
            await stopping.wait()
            log.info("draining")


def _keep_what_is_loaded() -> None:
    """Have the collector pass over what was loaded so far (modules, classes, compiled expressions), which lives as long as
    the process does, and look at what is new less often: it walks every object that it keeps each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTION)


async def work(settings: Settings, queues: Mapping[str, int]) -> None:
    """Be a pool of workers until a signal asks it to end, then drain. It knows the broker and the storages alone.

    Raises InvalidRequest where the scratch cannot be used, BrokerUnavailable where the broker was not there at the start,
    or not to be told of the end.
    """
    await prepare_scratch(settings.scratch)
    with _signals() as stopping:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(settled)
            broker = await enter(stack, "broker", lambda: _there(settings.broker_url), settings.start_wait_s)
            doubt_workspace(settings)
            clients = await stack.enter_async_context(GuardedClients())
            tracer = await stack.enter_async_context(tracing())
            stopping.started = True
            _keep_what_is_loaded()
            async with asyncio.TaskGroup() as group:
                worker = build_worker(settings, broker, SystemClock(), queues, clients, tracer)
                running = group.create_task(worker.run())
                log.info("worker_ready", worker=worker.info.name, queues=dict(queues))
                await stopping.wait()
                log.info("draining")
                worker.drain()
            if unreported := running.result():
                raise BrokerUnavailable(
                    f"drained, but {unreported} reports could not be sent: the broker is away. Their tasks run again elsewhere"
                )


@asynccontextmanager
async def _there(url: str) -> AsyncIterator[Broker]:
    """A broker that is there: without one a worker can do nothing, and whoever started it should hear of it."""
    async with open_broker(url) as broker:
        await broker.check()
        yield broker


class _Stopping(asyncio.Event):
    """Is set by the first signal. `started`: there is something to drain; before that the start is given up."""

    started = False


@contextmanager
def _signals() -> Iterator[_Stopping]:
    """What the first signal sets; the second ends the process at once (its children die with it)."""
    main = asyncio.current_task()
    stopping = _Stopping()

    def on_signal(number: int) -> None:
        if stopping.is_set():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(128 + number)
        stopping.set()
        if not stopping.started and main is not None:
            main.cancel()

    with caught(STOPPING, on_signal):
        try:
            yield stopping
        except asyncio.CancelledError:  # a start that a signal ended is no failure: nothing was begun
            if stopping.started or not stopping.is_set():
                raise
            log.info("start_given_up")
