"""What an engine's settings mean for its use cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from taskengine.app.storages import build_storages
from taskengine.domain.messages import OWN_ROOTS
from taskengine.engine.callback_policy import CallbackPolicy
from taskengine.engine.directory import Directory
from taskengine.engine.dispatcher import DispatchPolicy
from taskengine.engine.judging import Offer
from taskengine.settings import Settings
from taskengine.storage.workspace import Workspaces


def callback_policy(settings: Settings) -> CallbackPolicy:
    """How callbacks are delivered."""
    given = settings.callbacks
    return CallbackPolicy(
        timeout_s=given.timeout_s,
        connect_timeout_s=given.connect_timeout_s,
        delays_s=given.delays_s,
        give_up_after_s=given.give_up_after_h * 3600,
        retry_limit=settings.engine.retry_limit,
        concurrency=given.concurrency,
        per_endpoint_concurrency=given.per_endpoint_concurrency,
    )


def dispatch_policy(settings: Settings, directory: Directory, workspaces: Workspaces) -> DispatchPolicy:
    """What every task message carries."""
    storages = build_storages(settings)
    named = {
        name: {"kind": settings.storages[name].kind, "roots": list(storages.roots(name))} for name in storages.names()
    }
    allow = [str(network) for network in settings.outbound_allow]

    def storages_of(client: str) -> Mapping[str, Any]:
        config = directory.known.config(client)
        return {name: _described(named[name], config.roots.get(name)) for name in named if config.may_use(name)}

    def allowed(client: str) -> Sequence[str]:
        return [*allow, *directory.known.config(client).outbound_allow]

    return DispatchPolicy(settings.heartbeat_s, storages_of, allowed, workspaces.keep)


def _described(storage: Mapping[str, Any], own: Mapping[str, str] | None) -> Mapping[str, Any]:
    """A storage as a task message has it, with a client's own roots."""
    return {**storage, "roots": sorted({*storage["roots"], *own}), OWN_ROOTS: dict(own)} if own else storage


def offer(settings: Settings, profiles: Callable[[str], Sequence[str]]) -> Offer:
    """What a submission can name."""
    storages = build_storages(settings)
    roots = {name: storages.roots(name) for name in storages.names()}
    return Offer(settings.default_storage, roots, profiles)
