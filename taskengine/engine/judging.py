"""Judges, at submission, what the parameters name of the installation: storages, their roots, encoding profiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taskengine.domain.errors import Fault
from taskengine.domain.tenants import ClientConfig
from taskengine.domain.words import nearest
from taskengine.domain.workflow import Workflow

PUBLISHED_STORAGES = frozenset({"local", "S3", "azure_blob"})
SOURCE_ROOT = "source_root"


@dataclass(frozen=True, slots=True)
class Offer:
    """What the installation has for one client: storages with the keys of their roots, and encoding profiles by name."""

    default_storage: str
    storages: Mapping[str, Sequence[str]]
    profiles_of: Callable[[str], Sequence[str]]
    client: str = ""

    def of(self, client: str, config: ClientConfig) -> Offer:
        """What of it a client's jobs may use."""
        storages = {
            name: sorted({*roots, *config.roots.get(name, ())})
            for name, roots in self.storages.items()
            if config.may_use(name)
        }
        return replace(
            self, default_storage=config.storage_by_default(self.default_storage), storages=storages, client=client
        )


def judge_names(workflow: Workflow, arguments: Mapping[str, Any], offer: Offer) -> list[Fault]:
    """A fault for each name that the installation does not know. Only published workflows' parameters are known to
    mean storages and profiles; `output_root` is every workflow's."""
    faults: list[Fault] = []
    if workflow.published:
        for name in ("source_storage", "destination_storage"):
            faults += _unknown(name, arguments.get(name), offer.storages, PUBLISHED_STORAGES)
        if "encoding_profile" in arguments:
            profiles = offer.profiles_of(offer.client)
            faults += _unknown("encoding_profile", arguments["encoding_profile"], profiles, frozenset())
    storage = arguments.get("destination_storage") or arguments.get("source_storage") or offer.default_storage
    if workflow.published and offer.default_storage not in offer.storages and storage == offer.default_storage:
        faults += _unknown("source_storage", storage, offer.storages, PUBLISHED_STORAGES)
    roots = [root for root in offer.storages.get(storage, ()) if root != SOURCE_ROOT]
    if roots:
        faults += _unknown("output_root", arguments.get("output_root"), roots, frozenset())
    return faults


def _unknown(name: str, value: Any, known: Sequence[str] | Mapping[str, Any], published: frozenset[str]) -> list[Fault]:
    """[] where the value is known (or not given)."""
    if value is None or value in known:
        return []
    listed = ", ".join(sorted(known))
    if value in published:
        text = f"{name}: {value!r} is not configured here; there are: {listed}"
    else:
        text = f"{name}: {str(value)[:100]!r} is not known; there are: {listed}{nearest(str(value)[:100], known)}"
    return [Fault(f"/parameters/{name}", text)]
