"""`doctor`: whether this machine can do the work."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import click

from taskengine import __version__
from taskengine.cli.connection import json_option
from taskengine.cli.local import configure_log, local_options, read_settings
from taskengine.cli.outcome import ExitCode, fault_text, run_async
from taskengine.cli.output import Output
from taskengine.domain.errors import InvalidRequest, TaskEngineError

if TYPE_CHECKING:
    from taskengine.settings import Settings

LOW_DISK = 10 << 30
LEAST_DISK = 1 << 30
OLDEST_RABBITMQ = (3, 10)  # Debian 12's


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `warning`: it works, with a restriction."""

    check: str
    state: Literal["ok", "warning", "fault"]
    detail: str


@click.command()
@local_options("config", "data_dir", "database", "broker")
@json_option
def doctor(*, config: Path | None, as_json: bool, **flags: Any) -> int:
    """Check the configuration, binaries, broker, store, storages, disk and sandbox. Exits 1 where something is at fault."""
    findings = [Finding("version", "ok", f"taskengine {__version__}, Python {platform.python_version()}")]
    try:
        settings = read_settings(flags, config)
    except InvalidRequest as error:
        findings += [Finding("configuration", "fault", fault_text(fault)) for fault in error.faults]
    else:
        configure_log(settings)
        findings.append(Finding("configuration", "ok", f"data directory {settings.data_dir}"))
        findings += run_async(_collect(settings))
    output = Output(json=as_json)
    failed = any(finding.state == "fault" for finding in findings)
    if as_json:
        output.value({"ok": not failed, "checks": [asdict(finding) for finding in findings]})
    else:
        output.table(["check", "state", "detail"], [[f.check, f.state, f.detail] for f in findings])
    return ExitCode.FAILED if failed else ExitCode.OK


async def _collect(settings: Settings) -> list[Finding]:
    findings = [finding async for finding in _binaries(settings)]
    findings.append(await _broker(settings))
    findings.append(await _store(settings))
    findings += [finding async for finding in _storages(settings)]
    findings.append(_sealing(settings))
    findings += _disk(settings)
    findings.append(_sandbox(settings))
    return findings


async def _binaries(settings: Settings) -> AsyncIterator[Finding]:
    from taskengine.app.workers import worker_sandbox
    from taskengine.media.tools import describe, find_tools
    from taskengine.process import SubprocessRunner

    tools = settings.tools
    given = [None if path is None else str(path) for path in (tools.ffmpeg, tools.ffprobe, tools.packager)]
    try:
        with TemporaryDirectory() as folder:  # they must run where they are shut in
            runner = SubprocessRunner(sandbox=worker_sandbox(settings))
            reports = await describe(find_tools(*given), runner, Path(folder))
    except TaskEngineError as error:
        yield Finding("binaries", "fault", str(error))
        return
    for report in reports:
        if report.fault:
            yield Finding(report.name, "fault", f"{report.path}: {report.fault}")
        elif report.missing:
            yield Finding(
                report.name, "warning", f"{report.version} at {report.path} lacks {', '.join(report.missing)}"
            )
        else:
            yield Finding(report.name, "ok", f"{report.version} at {report.path}")


async def _broker(settings: Settings) -> Finding:
    from taskengine.brokers import open_broker
    from taskengine.ports import Address, Message, Outgoing

    if settings.broker_url.startswith("memory:"):
        return Finding("broker", "ok", "memory://, within one process: a worker of another process does not meet it")
    url = settings.redacted()["broker_url"]
    try:
        async with open_broker(settings.broker_url) as broker:
            await broker.check()
            async with broker.subscribe(Address.CONTROL, ["doctor"]):  # it takes every right that an engine needs
                said = Message(b"{}")
                await broker.publish(
                    [Outgoing(Address.CONTROL, said, "doctor"), Outgoing(Address.REPLY, said, "doctor")]
                )
            version = getattr(broker, "version", "")  # of those that have a server
    except (TaskEngineError, OSError) as error:
        return Finding("broker", "fault", str(error))
    if settings.broker_url.startswith("amqp") and _number(version) < OLDEST_RABBITMQ:
        wanted = ".".join(map(str, OLDEST_RABBITMQ))
        return Finding(
            "broker", "warning", f"{url}, version {version or 'unknown'}: it is tried with {wanted} or newer"
        )
    return Finding("broker", "ok", f"{url}, version {version}" if version else url)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


async def _store(settings: Settings) -> Finding:
    from taskengine.stores.connect import sqlite_path
    from taskengine.stores.look import look

    url = settings.redacted()["database_url"]
    try:
        if settings.database_url.startswith("sqlite:"):
            path = sqlite_path(settings.database_url)
            if not path.exists():
                return Finding("store", *_writable(path.parent, f"{url} will be made"))
        found = await look(settings.database_url)
    except TaskEngineError as error:
        return Finding("store", "fault", str(error))
    if found.missing:
        text = f"{url} ({found.version}) lacks {len(found.missing)} migrations: `taskengine migrate`, or `serve`"
        return Finding("store", "warning", text)
    if found.newer:
        text = f"{url} ({found.version}), its schema is newer than this version, which can use it: {', '.join(found.newer)}"
        return Finding("store", "warning", text)
    return Finding("store", "ok", f"{url} ({found.version}), its schema is current")


def _sealing(settings: Settings) -> Finding:
    """Whether this machine can open secrets. Nothing is made here."""
    from taskengine.app.sealing import FILE, worker_sealer

    place = "the setting sealing_key" if settings.sealing_key else str(settings.data_dir / FILE)
    try:
        ids = worker_sealer(settings).ids
    except InvalidRequest as error:
        return Finding("sealing key", "fault", f"{place}: {error}")
    if not ids:
        return Finding("sealing key", "ok", f"an engine will make {place}; workers elsewhere need the same key")
    others = f", opens also {', '.join(ids[1:])}" if len(ids) > 1 else ""
    return Finding("sealing key", "ok", f"{ids[0]} of {place}{others}")


async def _storages(settings: Settings) -> AsyncIterator[Finding]:
    for name, storage in settings.storages.items():
        if storage.kind == "local":
            folder = storage.folder(settings.data_dir)
            for root in dict.fromkeys([storage.source_root, *storage.output_root.values()]):
                yield Finding(f"storage {name}", *_writable(folder / root, str(folder / root)))
        else:
            yield await _bucket(settings, name)


async def _bucket(settings: Settings, name: str) -> Finding:
    """Whether the roots of a bucket can be listed."""
    from taskengine.app.storages import build_storages
    from taskengine.storage.registry import settled

    try:
        storages = build_storages(settings)
        opened = [storages.open(name, root) for root in storages.roots(name)]
        for root in opened:
            await root.list("", recursive=False)
    except TaskEngineError as error:
        return Finding(f"storage {name}", "fault", str(error))
    finally:
        await settled()
    return Finding(f"storage {name}", "ok", ", ".join(root.full_path("") for root in opened))


def _writable(folder: Path, detail: str) -> tuple[Literal["ok", "fault"], str]:
    there = _nearest_existing(folder)
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return "ok", detail if there == folder or "will be made" in detail else f"{detail} will be made"
    return "fault", f"{detail}: {there} cannot be written to"


def _disk(settings: Settings) -> Iterator[Finding]:
    for name, place in (("data", settings.data_dir), ("scratch", settings.scratch)):
        free = shutil.disk_usage(_nearest_existing(place)).free
        detail = f"{free / (1 << 30):.1f} GB free for {place}"
        state: Literal["ok", "warning", "fault"] = "ok" if free >= LOW_DISK else "warning"
        yield Finding(f"disk {name}", state if free >= LEAST_DISK else "fault", detail)


def _nearest_existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def _sandbox(settings: Settings) -> Finding:
    """What holds a media process in."""
    from taskengine.app.workers import worker_sandbox
    from taskengine.system import LAUNCHER

    try:
        found = worker_sandbox(settings)
    except InvalidRequest as error:
        return Finding("sandbox", "fault", str(error))
    if found.missing:
        held = "subprocesses end with their worker" + (" and have resource limits" if LAUNCHER else "")
        return Finding("sandbox", "warning", f"{'; '.join(found.missing)}; {held}")
    return Finding(
        "sandbox",
        "ok",
        f"media processes see their own files alone (Landlock {found.landlock}) and no network (seccomp)",
    )
