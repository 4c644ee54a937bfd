"""`serve` and `worker`: the processes of an installation."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from taskengine.cli.definitions import catalog_of, queues_of
from taskengine.cli.importing import importing
from taskengine.cli.local import configure_log, local_options, read_settings
from taskengine.domain.words import nearest

if TYPE_CHECKING:
    from taskengine.settings import Settings

ALL_QUEUES = "all"
_USUAL = {"capture", "package", "transcode", "work"}  # of the workflows that come along, which need not be read for it


@click.command()
@local_options("config")
@click.option("--host", metavar="HOST", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 takes a free one.  [default: 8080]")
@local_options("data_dir", "database", "broker")
@click.option("--no-workers", is_flag=True, help="Execute no tasks here: `taskengine worker` does it.")
@click.option(
    "--concurrency",
    "concurrencies",
    multiple=True,
    metavar="QUEUE=N",
    help="Tasks of a queue at one time, in this process.",
)
def serve(config: Path | None, *, no_workers: bool, concurrencies: Sequence[str], **flags: Any) -> None:
    """Host the API, the scheduler, the callbacks and workers for every queue.

    Prints one line when it is ready. SIGTERM, SIGINT or SIGHUP: nothing new is started, what runs is finished or
    handed back; a second one ends at once.
    """
    each, _ = read_concurrency(concurrencies, bare=False)
    settings = read_settings({**flags, **_slot_flags(each)}, config)
    if each:
        _judge_queues(each, {*queues_of(catalog_of(settings)), "default"}, "this engine")
    configure_log(settings)
    if no_workers and is_memory(settings):
        click.echo("Warning: no worker can meet this engine: the broker memory:// is within one process", err=True)
    import asyncio

    with importing():
        from taskengine.app import serve as host
        from taskengine.system import quick_loop

    with asyncio.Runner(loop_factory=quick_loop if no_workers else None) as runner:
        runner.run(host(settings, workers=not no_workers, ready=lambda url: click.echo(ready_line(url, settings))))


def ready_line(url: str, settings: Settings) -> str:
    """The one line that `serve` prints."""
    key_file = settings.data_dir / "api-key"
    where = f"in {key_file}" if key_file.exists() else "the one that was configured"
    return f"Task Engine is ready: {url} (client {settings.bootstrap_client}, API key {where})"


@click.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    required=True,
    metavar="QUEUE",
    help="A queue to take tasks of; `all`: every queue but external_queues.",
)
@click.option(
    "--concurrency",
    "concurrencies",
    multiple=True,
    metavar="N|QUEUE=N",
    help="Tasks at one time, of each queue or of one.",
)
@local_options("broker", "config", "data_dir")
def worker(config: Path | None, *, queues: Sequence[str], concurrencies: Sequence[str], **flags: Any) -> None:
    """Execute tasks of some queues. Needs the broker and the storages, no database."""
    each, of_all = read_concurrency(concurrencies, bare=True)
    settings = read_settings({**flags, **_slot_flags(each)}, config)
    configure_log(settings)
    if is_memory(settings):
        raise click.UsageError(
            "the broker memory:// is within one process: this worker would never meet an engine. "
            "Give --broker amqp://… to it and to the engine, or let `taskengine serve` have the workers"
        )
    slots = worker_slots(settings, queues, each, of_all)
    _doubt_queues(settings, slots.keys())
    import asyncio

    with importing():
        from taskengine.app import work

    asyncio.run(work(settings, slots))


def is_memory(settings: Settings) -> bool:
    """Whether the broker is the one that lives in one process."""
    return str(settings.broker_url).startswith("memory:")


def read_concurrency(texts: Sequence[str], *, bare: bool) -> tuple[dict[str, int], int | None]:
    """`QUEUE=N` by queue, and the N that was given alone, where `bare` allows it."""
    each: dict[str, int] = {}
    of_all: int | None = None
    for text in texts:
        queue, equals, number = text.rpartition("=")
        is_count = number.isascii() and number.isdigit() and int(number) > 0
        if not is_count or not (queue if equals else bare):
            wanted = "N or QUEUE=N" if bare else "QUEUE=N"
            raise click.BadParameter(f"{text!r} is not {wanted}, N at least 1", param_hint="--concurrency")
        if queue:
            each[queue] = int(number)
        else:
            of_all = int(number)
    return each, of_all


def _slot_flags(each: Mapping[str, int]) -> dict[str, Any]:
    return {"concurrency": dict(each)} if each else {}


def _judge_queues(each: Mapping[str, int], queues: Collection[str], whose: str) -> None:
    if strangers := each.keys() - set(queues):
        stranger = min(strangers)
        hint = nearest(stranger, queues)
        raise click.BadParameter(f"{stranger!r} is none of the queues of {whose}{hint}", param_hint="--concurrency")


def _doubt_queues(settings: Settings, queues: AbstractSet[str]) -> None:
    """Warn of queues that no workflow of this machine names. The engine may have others, so a worker may serve them."""
    if queues <= _USUAL:
        return
    known = queues_of(catalog_of(settings))
    for queue in sorted(set(queues) - {*known, *settings.external_queues}):
        hint = nearest(queue, known)
        click.echo(f"Warning: no workflow that is known here has tasks for the queue {queue!r}{hint}", err=True)


def worker_slots(
    settings: Settings, queues: Sequence[str], each: Mapping[str, int], of_all: int | None
) -> dict[str, int]:
    """queue → slots of a worker that was told to take `queues`."""
    named = dict.fromkeys(queues)
    if ALL_QUEUES in named:
        own = [queue for queue in queues_of(catalog_of(settings)) if queue not in settings.external_queues]
        named = dict.fromkeys([*own, *(queue for queue in named if queue != ALL_QUEUES)])
    _judge_queues(each, named.keys(), "this worker")
    slots = {queue: each.get(queue) or of_all or settings.slots(queue) for queue in named}
    return {queue: count for queue, count in slots.items() if count}
