"""What a client's configuration names of the installation: told where it is given, not when its first job fails."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from taskengine.api.body import pointer
from taskengine.domain.errors import Fault
from taskengine.domain.tenants import EVERY_WORKFLOW, ClientConfig
from taskengine.domain.words import nearest
from taskengine.ports import WorkflowCatalog


def config_faults(config: ClientConfig, client: str, storages: Sequence[str], catalog: WorkflowCatalog) -> list[Fault]:
    """A fault for each storage, workflow and parameter that is not there."""
    return [
        *_storage_faults(config, storages),
        *_unknown("workflow", "/config/workflows", config.workflows or (), catalog.names(client)),
        *_default_faults(config, client, catalog),
    ]


def _storage_faults(config: ClientConfig, storages: Sequence[str]) -> Iterator[Fault]:
    yield from _unknown("storage", "/config/storages", config.storages or (), storages)
    if config.default_storage is not None and config.default_storage not in storages:
        yield _fault("/config/default_storage", "storage", config.default_storage, storages)
    elif config.default_storage is not None and not config.may_use(config.default_storage):
        yield Fault("/config/default_storage", "must be one of its storages")
    for name in config.roots:
        if name not in storages:
            yield _fault(pointer("/config/roots", name), "storage", name, storages)


def _default_faults(config: ClientConfig, client: str, catalog: WorkflowCatalog) -> Iterator[Fault]:
    known = catalog.names(client)
    for workflow, parameters in config.defaults.items():
        path = pointer("/config/defaults", workflow)
        if workflow == EVERY_WORKFLOW:
            continue  # each workflow takes those that it has
        loaded = catalog.get(workflow, client)
        if loaded is None:
            yield _fault(path, "workflow", workflow, known)
            continue
        names = list(loaded.workflow.schema.get("properties", {}))
        yield from (_fault(pointer(path, name), "parameter", name, names) for name in parameters if name not in names)


def _unknown(what: str, path: str, given: Sequence[str], known: Sequence[str]) -> Iterator[Fault]:
    there: Container[str] = set(known)
    for index, name in enumerate(given):
        if name not in there:
            yield _fault(pointer(path, index), what, name, known)


def _fault(path: str, what: str, name: str, known: Sequence[str]) -> Fault:
    return Fault(path, f"unknown {what} {name[:100]!r}{nearest(name[:100], known)}")
