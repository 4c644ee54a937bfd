"""Clients, keys, settings and what is kept of them in memory."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from taskengine.domain.admission import Budget
from taskengine.domain.errors import Conflict, Forbidden, InvalidRequest, NotFound, StoreUnavailable, Unauthorized
from taskengine.domain.setting import SETTINGS
from taskengine.domain.tenants import CONFIG_NAMES, Caller, ClientConfig, Role, parse_client_config
from taskengine.engine.directory import Directory
from taskengine.engine.settings_book import SYSTEM, SettingsBook
from taskengine.engine.tenants import Tenants
from taskengine.ports import Store
from taskengine.stores import open_store
from tests.support.api import Faulty
from tests.support.clock import MovedClock
from tests.support.vault import VAULT

ADMIN = Caller("root", Role.ADMIN)


@dataclass(slots=True)
class Office:
    """One engine's view of the clients; a second one shares the store."""

    store: Store
    clock: MovedClock
    directory: Directory
    tenants: Tenants
    book: SettingsBook

    def another(self) -> Office:
        """Another engine on the same store."""
        return office(self.store, self.clock)


def office(store: Any, clock: MovedClock) -> Office:
    """An engine's view."""
    directory = Directory(store, clock, VAULT)
    return Office(store, clock, directory, Tenants(store, clock, directory), SettingsBook(store, directory))


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Office]:
    """An engine on an empty store."""
    clock = MovedClock()
    async with open_store(f"sqlite:///{tmp_path}/clients.db", clock) as store:
        yield office(store, clock)


async def test_the_first_admin_is_made_once(here: Office) -> None:
    """Its key opens; a second start makes none, whatever it is given."""
    key = await here.tenants.bootstrap("root")
    assert key is not None
    assert len(key) >= 43
    assert await here.tenants.authenticate("root", key) == ADMIN
    assert await here.another().tenants.bootstrap("other") is None
    assert await here.tenants.bootstrap("root", "given") is None
    with pytest.raises(Unauthorized):
        await here.tenants.authenticate("root", "given")


async def test_every_client_has_a_secret_that_signs_its_callbacks(here: Office) -> None:
    """Made up where its configuration names none, told once, kept by a change that says nothing of it, and kept sealed."""
    tenants = here.tenants
    await tenants.bootstrap("root", "good")
    assert len(await tenants.callback_secrets("root")) == 1
    made = await tenants.add_client("one")
    assert made.callback_secret is not None
    assert len(base64.b64decode(made.callback_secret.removeprefix("whsec_"))) == 32
    assert (
        await tenants.callback_secrets("one")
        == (await tenants.config("one")).callback_secrets
        == (made.callback_secret,)
    )
    await tenants.change_client("one", None, {"weight": 2})
    assert await tenants.callback_secrets("one") == (made.callback_secret,)
    await tenants.change_client("one", None, {"callback_secrets": []})
    assert await tenants.callback_secrets("one") == ()
    own = await tenants.add_client("own", config={"callback_secrets": ["c2VjcmV0"]})
    assert (own.callback_secret, await tenants.callback_secrets("own")) == (None, ("c2VjcmV0",))
    with pytest.raises(NotFound):
        await tenants.callback_secrets("nobody")


async def test_a_given_key_is_not_told_again(here: Office) -> None:
    """And an admin that lost its way before it had a key gets one."""

    async def no_keys() -> None:
        """A start that ended too soon."""
        await here.tenants.bootstrap("root", "first")
        await here.store.revoke_key("root", (await here.store.keys("root"))[0].id, here.clock.now())

    await no_keys()
    assert await here.tenants.bootstrap("root", "given") is None
    assert await here.tenants.authenticate("root", "given") == ADMIN


@pytest.mark.parametrize(
    ("client", "key"), [(None, None), ("root", None), ("root", ""), ("root", "bad"), ("nobody", "good"), ("", "good"),
                        (None, "good"), ("röt", "good"), ("\ud800", "\ud800")]
)  # fmt: skip
async def test_wrong_credentials_are_all_refused_alike(here: Office, client: str | None, key: str | None) -> None:
    """In the same words."""
    await here.tenants.bootstrap("root", "good")
    with pytest.raises(Unauthorized, match=r"^The client or its api-key is missing or wrong$"):
        await here.tenants.authenticate(client, key)


async def test_a_key_that_another_engine_revoked_stops_within_seconds(here: Office) -> None:
    """One reading serves all requests until then."""
    await here.tenants.bootstrap("root", "good")
    made = await here.tenants.add_client("other")
    there = here.another()
    await there.tenants.authenticate("other", made.api_key)
    await here.tenants.revoke_key("other", made.id)
    with pytest.raises(Unauthorized):
        await here.tenants.authenticate("other", made.api_key)
    here.clock._now += 3000
    with pytest.raises(Unauthorized):
        await there.tenants.authenticate("other", made.api_key)


async def test_a_key_that_another_engine_made_opens_at_once(here: Office) -> None:
    """A client that was made over one engine may call over any other, by key or by message."""
    await here.tenants.bootstrap("root", "good")
    there = here.another()
    await there.tenants.authenticate("root", "good")
    made = await here.tenants.add_client("new")
    assert (await there.tenants.authenticate("new", made.api_key)).client == "new"
    await here.tenants.add_client("newer")
    assert (await there.tenants.known("newer")).client == "newer"


async def test_a_flood_of_wrong_keys_costs_the_store_ten_readings_a_second(
    here: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes with a key that is not known waits for a reading, all of them for the same."""
    await here.tenants.bootstrap("root", "good")
    read = here.store.keys
    readings: list[float] = []

    async def counted(client: str | None = None) -> Any:
        readings.append(asyncio.get_running_loop().time())
        return await read(client)

    monkeypatch.setattr(here.store, "keys", counted)
    wrong = (here.tenants.authenticate("root", f"wrong {number}") for number in range(200))
    assert all(isinstance(one, Unauthorized) for one in await asyncio.gather(*wrong, return_exceptions=True))
    for _ in range(2):
        with pytest.raises(Unauthorized):
            await here.tenants.authenticate("root", "wrong")
    assert len(readings) == 3
    assert all(later - earlier > 0.09 for earlier, later in pairwise(readings))


async def test_no_request_reads_the_store_while_what_is_known_is_fresh(here: Office) -> None:
    """And when the store is away, what was known last goes on."""
    await here.tenants.bootstrap("root", "good")
    store = Faulty(here.store, StoreUnavailable)
    there = office(store, here.clock)
    store.away = True
    with pytest.raises(StoreUnavailable):
        await there.tenants.authenticate("root", "good")
    store.away = False
    await there.tenants.authenticate("root", "good")
    store.away = True
    await there.tenants.authenticate("root", "good")
    here.clock._now += 60_000
    await there.tenants.authenticate("root", "good")
    with pytest.raises(StoreUnavailable):  # whether that is a key cannot be told
        await there.tenants.authenticate("root", "other")


async def test_somebody_can_always_administer(here: Office) -> None:
    """The last admin's last key, role and entry stay."""
    await here.tenants.bootstrap("root", "good")
    [view] = await here.tenants.clients()
    for attempt in (
        here.tenants.remove_client("root"),
        here.tenants.change_client("root", "viewer", None),
        here.tenants.revoke_key("root", view.keys[0].id),
    ):
        with pytest.raises(Conflict, match="last admin"):
            await attempt
    await here.tenants.add_client("second", "admin")
    await here.tenants.remove_client("root")


async def test_a_client_is_not_made_twice(here: Office) -> None:
    """Conflict; and what is wrong of a new one is told at once."""
    await here.tenants.add_client("one")
    with pytest.raises(Conflict):
        await here.tenants.add_client("one")
    with pytest.raises(InvalidRequest) as caught:
        await here.tenants.add_client("One", "king", {"nope": 1})
    assert [fault.path for fault in caught.value.faults] == ["/name", "/role", "/config/nope"]


# --------------------------------------------------------------------------------------------------------- configuration


def test_one_word_sets_what_a_client_that_moves_over_expects() -> None:
    """Each can be set alone, and wins."""
    config = parse_client_config({"compatibility": "original", "conflict_as_400": False})
    assert (config.not_found_as_400, config.conflict_as_400, config.unauthorized_result) == (True, False, True)
    assert (config.manifest_style, config.callback_extra_fields) == ("ism", False)
    assert parse_client_config({}) == ClientConfig()


def test_every_fault_of_a_configuration_is_named() -> None:
    """Unknown names with the nearest."""
    wrong: dict[str, Any] = {
        "compatibility": "old", "weight": True, "max_jobs": 0, "workflows": "all", "callback_headers": {"a b": "c"},
        "callback_secrets": ["§"], "callback_ids": "hex", "outbound_allow": ["10.0.0.0/99"], "strict_parameters": 1,
        "callback_verify_tls": None, "wieght": 1,
    }  # fmt: skip
    with pytest.raises(InvalidRequest) as caught:
        parse_client_config(wrong)
    assert {fault.path for fault in caught.value.faults} == {f"/config/{name}" for name in wrong}
    assert "'weight'" in str(caught.value)


def test_a_configuration_of_every_name_is_read() -> None:
    """As it comes back from the store."""
    config = parse_client_config({
        "compatibility": None, "not_found_as_400": True, "conflict_as_400": True, "unauthorized_result": True,
        "manifest_style": "ism", "callback_ids": "hidden", "callback_extra_fields": False,
        "callback_headers": {"Authorization": "Bearer x"}, "callback_secrets": ["whsec_c2VjcmV0"],
        "callback_verify_tls": False, "callback_events": ["job"], "callback_fields": {}, "callback_template": {},
        "callback_endpoints": {}, "strict_parameters": True, "weight": 2, "max_jobs": 3, "workflows": ["chain"],
        "outbound_allow": ["10.1.2.3/8"], "rate": {"per_second": 2},
        "defaults": {"*": {"x": 1}}, "storages": ["a"], "default_storage": "a",
        "roots": {"a": {"source_root": "/clients/x/"}}, "key_provider": "ours", "track_properties": {"audio": []},
    })  # fmt: skip
    assert (config.weight, config.max_jobs, config.outbound_allow) == (2.0, 3, ("10.0.0.0/8",))
    assert config.roots == {"a": {"source_root": "clients/x"}}
    assert len(CONFIG_NAMES) == 26


# -------------------------------------------------------------------------------------------------------------- settings


async def test_a_value_falls_back_from_client_to_system_to_default(here: Office) -> None:
    """Each scope's own wins."""
    await here.tenants.add_client("one")
    one = Caller("one", Role.SUBMITTER)
    assert await here.book.get("one", "max_jobs") == 2
    assert await here.book.set(ADMIN, "max_jobs", "5") is True
    assert await here.book.get("one", "max_jobs") == 5
    assert await here.book.set(one, "max_jobs", 3) is True
    assert await here.book.set(one, "max_jobs", 4) is False
    assert (await here.book.get("one", "max_jobs"), await here.book.get(SYSTEM, "max_jobs")) == (4, 5)
    assert [view.source for view in await here.book.all("one") if view.setting.name == "max_jobs"] == ["client"]


async def test_defaults_come_from_the_configuration(here: Office) -> None:
    """Whatever else it names."""
    book = SettingsBook(here.store, here.directory, {"max_jobs": 7, "schedule_interval": 0.5})
    assert (await book.get(SYSTEM, "max_jobs"), await book.schedule_interval()) == (7, 0.5)


async def test_budgets_are_of_those_with_limits_of_their_own(here: Office) -> None:
    """The system's priority slots are kept by the budget over all alone."""
    await here.tenants.add_client("plain")
    await here.tenants.add_client("own")
    await here.tenants.add_client("capped", config={"max_jobs": 1, "weight": 3})
    await here.book.set(ADMIN, "max_jobs", 5)
    await here.book.set(ADMIN, "priority_slots", 2)
    await here.book.set(Caller("own", Role.SUBMITTER), "max_jobs", 4)
    await here.book.set(ADMIN, "priority_slots", 1, "own")
    overall, budgets = await here.book.budgets()
    assert overall == Budget(5, 2, 5)
    assert budgets == {"own": Budget(4, 1, 5), "capped": Budget(1, 0, 5)}
    assert (here.book.weight("capped"), here.book.weight("plain"), here.book.weight("nobody")) == (3.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("caller", "name", "value", "client", "error"),
    [
        (ADMIN, "priority_slots", 3, None, InvalidRequest),
        (ADMIN, "max_jobs", 2, "capped", InvalidRequest),
        (ADMIN, "retention_days", 1, "capped", InvalidRequest),
        (ADMIN, "max_jobs", 1, "nobody", InvalidRequest),
        (Caller("capped", Role.SUBMITTER), "max_jobs", 1, "root", Forbidden),
        (Caller("capped", Role.SUBMITTER), "schedule_interval", 1, None, Forbidden),
        (Caller("capped", Role.VIEWER), "max_jobs", 1, None, Forbidden),
        (Caller("ops", Role.OPERATOR), "max_jobs", 1, None, Forbidden),
    ],
)
async def test_what_may_not_be_set_is_refused(
    here: Office, caller: Caller, name: str, value: int, client: str | None, error: type[Exception]
) -> None:
    """Out of the domain, beyond the configuration, or not the caller's."""
    await here.tenants.add_client("capped", config={"max_jobs": 1})
    with pytest.raises(error):
        await here.book.set(caller, name, value, client)


async def test_the_slots_never_exceed_the_jobs(here: Office) -> None:
    """In either order."""
    await here.book.set(ADMIN, "priority_slots", 2)
    with pytest.raises(InvalidRequest, match="must not be less than priority_slots"):
        await here.book.set(ADMIN, "max_jobs", 1)


async def test_the_rules_of_a_client_are_known_from_memory(here: Office) -> None:
    """Settings and configuration together."""
    await here.tenants.add_client("one", config={"callback_ids": "string", "strict_parameters": True})
    await here.book.set(ADMIN, "retry_limit", 9)
    rules = here.book.rules_of("one")
    assert (rules.retry.limit, rules.retry.delay_s, rules.config.callback_ids, rules.strict_parameters) == (
        9,
        5.0,
        "string",
        True,
    )
    assert here.book.rules_of("nobody").retry.limit == 9


async def test_listeners_hear_of_changes_alone(here: Office) -> None:
    """Here and in the store; a reading that finds nothing new is silent."""
    heard: list[int] = []
    there = here.another()
    await there.directory.current()
    there.directory.on_change(lambda: heard.append(1))
    await there.directory.reread()
    assert heard == []
    await here.book.set(ADMIN, "max_jobs", 3)
    await there.directory.reread()
    assert heard == [1]


@pytest.mark.parametrize(
    "value", ["x", "", "1e3", "1_000", "\u0661", True, None, [1], float("nan"), float("inf"), "-1", 0.5]
)
def test_what_is_no_value_of_a_setting_is_refused(value: object) -> None:
    """Naming the setting."""
    with pytest.raises(ValueError, match="max_jobs must be"):
        SETTINGS["max_jobs"].parse(value)
