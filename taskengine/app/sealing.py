"""The installation's sealing keys: configured, or made once in the data directory; and whether they are the database's."""

from __future__ import annotations

from taskengine.datadir import read_or_make, read_secret
from taskengine.domain.errors import Fault, InvalidRequest
from taskengine.ports import JobStore
from taskengine.sealing import KeySealer, new_key, parse_keys
from taskengine.settings import Settings

FILE = "sealing-key"
_META = "sealing_key"  # the id of the key that seals the database's secrets


def engine_sealer(settings: Settings) -> KeySealer:
    """The keys of an engine: the configured ones, else that of the data directory, which is made where there is none."""
    given = settings.sealing_key
    return _sealer(given.get_secret_value() if given else read_or_make(settings.data_dir, FILE, new_key))


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
