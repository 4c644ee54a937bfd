"""A worker of this machine: its handlers, tools, scratch, workspace and storages."""

from __future__ import annotations

import functools
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import structlog

from taskengine import __version__
from taskengine.app.keys import build_key_providers
from taskengine.app.sealing import worker_sealer
from taskengine.app.storages import build_storages, build_workspace
from taskengine.domain.errors import Fault, InputFault, InvalidRequest
from taskengine.domain.messages import TaskMessage, WorkerInfo
from taskengine.engine.context import Facilities
from taskengine.engine.vault import Vault
from taskengine.engine.worker import Worker
from taskengine.handlers import load_handlers
from taskengine.media.tools import find_tools
from taskengine.net import Fetcher, GuardedClients, networks
from taskengine.ports import Broker, Clock, Outbound, Storage, Tools, Tracer, Workspace
from taskengine.process import ResourceLimits, SubprocessRunner
from taskengine.sandbox import Sandbox, find_sandbox
from taskengine.settings import Settings
from taskengine.storage.scratch import scratch_dir
from taskengine.storage.workspace import JobWorkspace
from taskengine.system import memory_bytes

log = structlog.get_logger(__name__)

_MB = 1 << 20
_LEAST_MEMORY = 16384 * _MB  # encoders map more than they touch


def build_worker(
    settings: Settings,
    broker: Broker,
    clock: Clock,
    queues: Mapping[str, int],
    clients: GuardedClients,
    tracer: Tracer | None = None,
    *,
    embedded: bool = False,
) -> Worker:
    """A worker for these queues with their slots. `clients` allow nothing by themselves: what a task may reach comes
    with it. `embedded`: it is an engine's own."""
    sandbox = worker_sandbox(settings)
    for missing in sandbox.missing:
        log.warning("sandbox_incomplete", missing=missing)
    name = f"{socket.gethostname()}-{os.getpid()}"
    info = WorkerInfo(uuid.uuid4().hex, name, queues=dict(queues), sandbox=sandbox.described())
    return Worker(
        info,
        broker,
        load_handlers(shell=settings.debug_shell),
        _facilities(settings, clients, generate=embedded),
        clock,
        Vault(worker_sealer(settings)),
        heartbeat_s=settings.heartbeat_s,
        drain_grace_s=settings.drain_grace_s,
        tracer=tracer,
    )


def worker_sandbox(settings: Settings) -> Sandbox:
    """What confines the subprocesses of a worker. InvalidRequest where it is required and the machine lacks it."""
    wanted = settings.sandbox
    if wanted.mode == "off":
        text = "not confined: sandbox.mode is off"
        return Sandbox(missing=(f"files: {text}", f"network: {text}"))
    found = find_sandbox(reads=wanted.read_paths)
    if found.missing and wanted.mode == "required":
        text = f"is required, and this machine lacks it: {'; '.join(found.missing)}"
        raise InvalidRequest(f"sandbox {text}", [Fault("sandbox.mode", text)])
    return found


def limits_of(settings: Settings) -> ResourceLimits:
    """What one subprocess may use."""
    given = settings.sandbox.memory_mb
    return ResourceLimits(address_space=given * _MB if given else max(memory_bytes(), _LEAST_MEMORY))


def _facilities(settings: Settings, clients: GuardedClients, *, generate: bool) -> Facilities:
    storages = build_storages(settings)
    shared = build_workspace(settings)
    paths = settings.tools

    @functools.cache
    def tools() -> Tools:
        return find_tools(
            *(None if path is None else str(path) for path in (paths.ffmpeg, paths.ffprobe, paths.packager))
        )

    def workspace(task: TaskMessage, scratch: Path) -> Workspace:
        return JobWorkspace(
            shared, scratch, job_id=task.workspace_id, task_id=task.task_id, attempt=task.attempt, token=task.token
        )

    def storage(name: str, root: str, own: Mapping[str, str]) -> Storage:
        try:
            return storages.open(name, root, own)
        except InvalidRequest as error:
            raise InputFault(str(error)) from error

    def outbound(task: TaskMessage) -> Outbound:
        return Fetcher(clients, networks(task.outbound_allow), user_agent=f"task-engine/{__version__}")

    def scratch(name: str) -> AbstractAsyncContextManager[Callable[[], Path]]:
        return scratch_dir(settings.scratch, name)

    runner = SubprocessRunner(limits_of(settings), sandbox=worker_sandbox(settings))
    keys = build_key_providers(settings, generate=generate)
    return Facilities(runner, tools, scratch, workspace, storage, outbound, keys.open, settings.profiles_dirs)
