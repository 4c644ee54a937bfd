"""The installation's sealing keys: configured, or made once in the data directory; and whether they are the database's."""

from __future__ import annotations

import structlog

from taskengine.datadir import read_or_make, read_secret, write_secret
from taskengine.domain.errors import Fault, InvalidRequest
from taskengine.ports import JobStore
from taskengine.sealing import KeySealer, new_key, parse_keys
from taskengine.settings import Settings

FILE = "sealing-key"
_META = "sealing_key"  # the id of the key that seals the database's secrets
_KEPT = "sealing_key_kept"  # the key itself, where engines share a database and none was configured

log = structlog.get_logger("taskengine.app")


async def engine_sealer(settings: Settings, store: JobStore) -> KeySealer:
    """The keys of an engine, which are those of its database from now on: the configured ones, else that of the data
    directory, which is made where there is none. Engines that share a database and were given no key agree on one that
    the database keeps: see docs/decisions/0024. InvalidRequest where the database's secrets need a key that is not there.
    """
    given = settings.sealing_key
    if given is not None:
        sealer = _sealer(given.get_secret_value())
    else:
        own = read_or_make(settings.data_dir, FILE, new_key)
        sealer = _sealer(own if settings.database_url.startswith("sqlite:") else await _agreed(settings, store, own))
    await keep_to_key(store, sealer)
    if given is not None and await store.meta(_KEPT):
        await store.set_meta(_KEPT, "")
    return sealer


async def _agreed(settings: Settings, store: JobStore, own: str) -> str:
    """The key that the database keeps, which the first engine's becomes, then our own; workers beside us find both."""
    kept = await store.meta(_KEPT)
    if kept is None and await store.meta(_META) is None:
        await store.swap_meta(_KEPT, None, own.split(",", maxsplit=1)[0])
        kept = await store.meta(_KEPT)
    if not kept:  # somebody configured a key
        return own
    log.warning("sealing_key_in_database", advice="whoever has the database has its secrets: configure sealing_key")
    keys = ",".join(dict.fromkeys([kept, *own.split(",")]))
    if keys != own:
        write_secret(settings.data_dir, FILE, keys)
    return keys


def worker_sealer(settings: Settings) -> KeySealer:
    """The keys of a worker: the configured ones, else those of an engine with the same data directory, else none."""
    given = settings.sealing_key
    text = given.get_secret_value() if given else read_secret(settings.data_dir, FILE)
    return _sealer(text) if text else KeySealer()


async def keep_to_key(store: JobStore, sealer: KeySealer) -> None:
    """Note which key seals this database's secrets; InvalidRequest where another one did, and it is not among ours.

    So engines that share a database cannot seal what the others do not open.
    """
    first = sealer.ids[0]
    while (noted := await store.meta(_META)) != first:
        if noted is not None and noted not in sealer.ids:
            text = (
                f"the secrets in the database are sealed with the key {noted}, and this engine has {', '.join(sealer.ids)}: "
                f"configure the key of the other engines (it may come after a new one), or put back the file {FILE}"
            )
            raise InvalidRequest(f"sealing_key: {text}", [Fault("sealing_key", text)])
        if await store.swap_meta(_META, noted, first):
            return


def _sealer(text: str) -> KeySealer:
    try:
        return KeySealer(parse_keys(text))
    except ValueError as error:
        raise InvalidRequest(f"sealing_key {error}", [Fault("sealing_key", str(error))]) from error
