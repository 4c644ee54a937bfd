"""The settings as they hold now: a client's own value, else the system's, else the configured default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskengine.domain.admission import Budget
from taskengine.domain.errors import Fault, Forbidden, InvalidRequest
from taskengine.domain.retry import RetryDefaults
from taskengine.domain.setting import SETTINGS, Number, Setting
from taskengine.domain.tenants import Caller, Role
from taskengine.domain.words import nearest
from taskengine.engine.directory import Directory, Entries
from taskengine.engine.rules import ClientRules
from taskengine.ports import ClientStore

SYSTEM = ""  # the scope of the whole installation


@dataclass(frozen=True, slots=True)
class SettingView:
    """A setting as one scope has it: `source` is `client`, `system` or `default`, by whose value it is."""

    setting: Setting
    value: Number
    default: Number
    source: str


class SettingsBook:
    """Reads settings from memory, writes them to the store. `defaults` are those of the configuration."""

    def __init__(self, store: ClientStore, directory: Directory, defaults: Mapping[str, Number] | None = None) -> None:
        self._store, self._directory = store, directory
        given = defaults or {}
        self._defaults = {name: setting.parse(given.get(name, setting.default)) for name, setting in SETTINGS.items()}
        self._rules: tuple[Entries, dict[str, ClientRules]] = Entries(), {}  # of what was known when they were made

    # --------------------------------------------------------------------------------------------------------- reading

    async def get(self, scope: str, name: str) -> Number:
        """The value that holds for a client (or the system)."""
        return self._look(await self._directory.current(), scope, name).value

    async def all(self, scope: str) -> Sequence[SettingView]:
        """Every setting as it holds for a client (or the system)."""
        entries = await self._directory.current()
        return [self._look(entries, scope, name) for name in SETTINGS]

    async def budgets(self) -> tuple[Budget, Mapping[str, Budget]]:
        """The slots over all, and of each client that has limits of its own."""
        entries = await self._directory.current()
        overall = self._budget(entries, SYSTEM)
        named = {client for client, _ in entries.settings if client in entries.tenants}
        capped = {name for name, tenant in entries.tenants.items() if tenant.config.max_jobs is not None}
        return overall, {client: self._budget(entries, client) for client in named | capped}

    def weight(self, client: str) -> float:
        """A client's weight in the fair share."""
        return self._directory.known.config(client).weight

    async def schedule_interval(self) -> float:
        """Seconds between the scheduler's looks."""
        return float(await self.get(SYSTEM, "schedule_interval"))

    async def retention_days(self) -> float:
        """Days that ended jobs are kept."""
        return float(await self.get(SYSTEM, "retention_days"))

    def rules_of(self, client: str) -> ClientRules:
        """What settings and configuration say about a client's jobs, from memory: the same object while they do not change."""
        entries = self._directory.known
        if entries is not self._rules[0]:
            self._rules = entries, {}
        known = self._rules[1]
        return known.get(client) or known.setdefault(client, self._made(entries, client))

    def _made(self, entries: Entries, client: str) -> ClientRules:
        config = entries.config(client)
        return ClientRules(
            public={"name": client, **config.public},
            retry=RetryDefaults(
                limit=int(self._look(entries, client, "retry_limit").value),
                delay_s=float(self._look(entries, client, "retry_delay").value),
            ),
            strict_parameters=config.strict_parameters,
            config=config,
        )

    def _look(self, entries: Entries, scope: str, name: str) -> SettingView:
        setting, default = SETTINGS[name], self._defaults[name]
        own = self._stored(entries, scope, setting) if scope != SYSTEM and setting.per_client else None
        system = self._stored(entries, SYSTEM, setting)
        cap = entries.config(scope).max_jobs if name == "max_jobs" else None
        value = next(value for value in (own, system, default) if value is not None)
        source = "client" if own is not None else "system" if system is not None else "default"
        return SettingView(setting, value if cap is None else min(value, cap), default, source)

    @staticmethod
    def _stored(entries: Entries, scope: str, setting: Setting) -> Number | None:
        text = entries.settings.get((scope, setting.name))
        try:
            return None if text is None else setting.parse(text)
        except ValueError:  # stored by a version with another domain
            return None

    def _budget(self, entries: Entries, scope: str) -> Budget:
        """A client's own priority slots alone are its: the system's are kept by the budget over all."""
        max_jobs = int(self._look(entries, scope, "max_jobs").value)
        slots = self._look(entries, scope, "priority_slots")
        own = scope == SYSTEM or slots.source == "client"
        threshold = int(self._look(entries, scope, "priority_threshold").value)
        return Budget(max_jobs, min(int(slots.value), max_jobs) if own else 0, threshold)

    # --------------------------------------------------------------------------------------------------------- writing

    async def set(self, caller: Caller, name: object, value: object, client: str | None = None) -> bool:
        """Set a value for the caller's scope (an admin's: the system, or the client that is named); True where it had
        none yet. It holds at once. InvalidRequest with what is wrong, Forbidden where it is not the caller's to set."""
        setting = _setting(name)
        entries = await self._directory.current()
        scope = _scope(caller, setting, client, entries)
        number = self._judged(entries, scope, setting, value)
        created = await self._store.save_setting(scope, setting.name, str(number))
        await self._directory.reread()
        return created

    def _judged(self, entries: Entries, scope: str, setting: Setting, value: object) -> Number:
        try:
            number = setting.parse(value)
            self._judge_slots(entries, scope, setting, number)
        except ValueError as error:
            raise InvalidRequest(f"/setting: {error}", [Fault("/setting", str(error))]) from None
        return number

    def _judge_slots(self, entries: Entries, scope: str, setting: Setting, number: Number) -> None:
        """What a value may not be because of another one."""
        if setting.name == "priority_slots":
            max_jobs = self._look(entries, scope, "max_jobs").value
            if number > max_jobs:
                raise ValueError(f"priority_slots must not be more than max_jobs ({max_jobs})")
        elif setting.name == "max_jobs":
            cap = entries.config(scope).max_jobs
            if cap is not None and number > cap:
                raise ValueError(f"max_jobs must not be more than the client's configuration allows ({cap})")
            slots = self._look(entries, scope, "priority_slots")
            if number < slots.value and (scope == SYSTEM or slots.source == "client"):
                raise ValueError(f"max_jobs must not be less than priority_slots ({slots.value})")


def _setting(name: object) -> Setting:
    if not isinstance(name, str):
        text = "must be the name of a setting"
    elif name not in SETTINGS:
        text = f"unknown setting {name[:100]!r}{nearest(name[:100], SETTINGS)}"
    else:
        return SETTINGS[name]
    raise InvalidRequest(f"/name: {text}", [Fault("/name", text)])


def _scope(caller: Caller, setting: Setting, client: str | None, entries: Entries) -> str:
    if caller.role not in {Role.ADMIN, Role.SUBMITTER}:
        raise Forbidden(f"The role {caller.role} may not change settings")
    if caller.role is not Role.ADMIN:
        if client not in {None, caller.client}:
            raise Forbidden("Only an admin may change the settings of another client")
        if not setting.per_client:
            raise Forbidden(f"{setting.name} is a setting of the whole system: only an admin may change it")
        return caller.client
    if client is None:
        return SYSTEM
    text = None
    if client not in entries.tenants:
        text = f"there is no client {client[:100]!r}"
    elif not setting.per_client:
        text = f"{setting.name} is a setting of the whole system: no client has its own"
    if text:
        raise InvalidRequest(f"/client: {text}", [Fault("/client", text)])
    return client
