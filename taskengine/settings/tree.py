"""The tree of all settings, with their defaults and what they mean.

`config/taskengine.yaml` and `docs/reference/configuration.md` are generated from it. Durations carry their unit in the
name, secrets are a redacting type, and what a default is derived from is said by `derived`.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from socket import gethostname
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from taskengine.domain.setting import SETTINGS
from taskengine.sealing import parse_keys
from taskengine.settings.key_providers import KeyProviderSettings
from taskengine.settings.storages import StorageSettings
from taskengine.settings.values import (
    AbsolutePath,
    AtLeastOne,
    ClientName,
    Count,
    DatabaseUrl,
    Group,
    Hours,
    HttpUrl,
    Name,
    Number,
    Port,
    Seconds,
    Url,
    WholeNumber,
    masked,
)
from taskengine.system import cores


def _derived(factory: Callable[[dict[str, Any]], Any], description: str, derived: str) -> Any:
    """A setting whose default follows from others (those above it); `derived` says how."""
    return Field(default_factory=factory, description=description, json_schema_extra={"derived": derived})


def _changeable(name: str, description: str) -> Any:
    """A setting that `POST /settings` changes: its default and its domain are written there."""
    setting = SETTINGS[name]
    return Field(setting.default, ge=setting.low, le=setting.high, description=description)


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _level(value: Any) -> Any:
    return {"warn": "warning", "fatal": "critical"}.get(lowered := _lower(value), lowered)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _reached(host: str) -> str:
    """How others call an address that is bound to: every address is the machine's name."""
    if host in {"0.0.0.0", "::", "*"}:  # noqa: S104 - it is judged, not bound to
        return gethostname()
    return f"[{host}]" if ":" in host else host


class LogSettings(Group):
    """What is logged, and how."""

    level: Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_level)] = Field(
        "info", description="The least severity that is logged. `LOG_LEVEL` is honoured too."
    )
    format: Annotated[Literal["auto", "console", "json"], BeforeValidator(_lower)] = Field(
        "auto", description="`console` for people, `json` for machines; `auto` is console on a terminal, else json."
    )
    color: bool | None = Field(
        None, description="Colours on the console; null is: on a terminal. `NO_COLOR` is honoured too."
    )


class EngineSettings(Group):
    """The system-wide settings of `POST /settings`, as they are until somebody sets them there."""

    max_jobs: WholeNumber = _changeable("max_jobs", "Jobs started at one time.")
    priority_slots: WholeNumber = _changeable(
        "priority_slots", "Of those, slots kept for priority jobs; never more than `max_jobs`."
    )
    priority_threshold: WholeNumber = _changeable(
        "priority_threshold", "A job with at most this priority may use the kept slots."
    )
    schedule_interval: Number = _changeable("schedule_interval", "Seconds between the scheduler's looks.")
    retry_delay: Number = _changeable("retry_delay", "Seconds before a failed task is tried again.")
    retry_limit: WholeNumber = _changeable("retry_limit", "Tries after the first before the job is given up.")
    retention_days: Number = _changeable("retention_days", "Days that ended jobs are kept.")

    @field_validator("priority_slots")
    @classmethod
    def _slots_fit(cls, slots: int, info: ValidationInfo) -> int:
        if slots > info.data.get("max_jobs", slots):
            raise ValueError(f"must be at most max_jobs ({info.data['max_jobs']})")
        return slots


class CallbackSettings(Group):
    """How callbacks are delivered."""

    timeout_s: Seconds = Field(15, description="Of one try.")
    connect_timeout_s: Seconds = Field(5, description="Of its connection.")
    delays_s: tuple[Seconds, ...] = Field(
        (5, 30, 120, 600, 1800, 3600, 7200, 21600),
        min_length=1,
        description="Before each further try; the last one repeats.",
    )
    give_up_after_h: Hours = Field(72, description="From the oldest undelivered event; then what is left is dead.")
    overtake_after_s: Seconds = Field(300, description="A job callback waits no longer for its task callbacks.")
    concurrency: AtLeastOne = Field(256, description="Deliveries at one time, over all endpoints.")
    per_endpoint_concurrency: AtLeastOne = Field(4, description="Deliveries at one time to one endpoint.")
    verify_tls: bool = Field(True, description="Whether certificates of endpoints are verified.")


class ToolSettings(Group):
    """Where the media binaries are; null is the one that the installation brought along."""

    ffmpeg: AbsolutePath | None = Field(None, description="Path of ffmpeg.")
    ffprobe: AbsolutePath | None = Field(None, description="Path of ffprobe.")
    packager: AbsolutePath | None = Field(None, description="Path of Shaka Packager.")


class SandboxSettings(Group):
    """What confines media processes: their files by Landlock (Linux 5.13), the network by a seccomp filter."""

    mode: Annotated[Literal["auto", "required", "off"], BeforeValidator(_lower)] = Field(
        "auto",
        description="`auto` confines as far as the machine can, and `/health` and `doctor` tell what is missing; with "
        "`required` no worker starts without; `off` confines nothing.",
    )
    read_paths: tuple[AbsolutePath, ...] = Field(
        (), description="Files and folders that programs may read beside the system's libraries, such as fonts."
    )
    memory_mb: AtLeastOne | None = Field(
        None, description="Address space of one media process; null is the machine's memory, at least 16384."
    )


class HealthSettings(Group):
    """The answer of `/health`."""

    aliases: dict[str, str] = Field(
        {},
        description="Further names for monitors written for the original: new name → name, such as "
        "`redis: broker` or `windows_capture: capture`.",
    )


class HttpSettings(Group):
    """Limits of the API."""

    max_body_bytes: AtLeastOne = Field(1_048_576, description="The largest body of a request.")
    access_log: bool = Field(
        True, description="Whether each call is logged (at `info`; those of probes and of Prometheus at `debug`)."
    )
    header_timeout_s: Seconds = Field(
        10, gt=0, description="A connection that has asked nothing for so long is closed."
    )
    max_connections: AtLeastOne = Field(4096, description="Open at one time; further ones are closed at once.")
    max_connections_per_address: AtLeastOne = Field(
        1024, description="Of these, from one address. A proxy in front is one address."
    )
    metrics: Annotated[Literal["credentials", "public", "off"], BeforeValidator(_lower)] = Field(
        "credentials",
        description="Who may read `/metrics`: admins and operators by their credentials (HTTP Basic too), anyone, nobody.",
    )


class BusSettings(Group):
    """How other systems use the broker."""

    events: bool = Field(
        True,
        description="Whether what happens to jobs is kept as events and, over RabbitMQ, published. Without, each change "
        "of a task or job costs the database less.",
    )
    source: str = Field(
        "/taskengine",
        min_length=1,
        max_length=255,
        description="The `source` of the events, a URI reference: what tells this installation from others.",
    )
    events_retention_h: Hours = Field(24, description="How long events are kept; those not yet published stay.")
    users: dict[str, Name] = Field(
        {},
        description="Users of the broker who submit jobs without an api-key: user → client. The message's `user_id` "
        "names the user, and RabbitMQ vouches for it.",
    )


class Settings(Group):
    """Everything that can be configured."""

    data_dir: AbsolutePath = Field(
        Path("data"), description="Database, default storage, workspace and scratch, unless they are set elsewhere."
    )
    database_url: DatabaseUrl = _derived(
        lambda data: f"sqlite:///{data['data_dir']}/taskengine.db",
        "The store of jobs: `sqlite:///path` or `postgresql://…`. `DATABASE_URL` is honoured too.",
        "sqlite:///<data_dir>/taskengine.db",
    )
    broker_url: Url = Field(
        "memory://",
        description="How engine and workers talk: `memory://` within one process, or `amqp://…`. `AMQP_URL` is "
        "honoured too.",
    )
    host: str = Field("127.0.0.1", min_length=1, description="The address that the API binds to.")
    port: Port = Field(8080, description="Its port; 0 takes a free one. `PORT` is honoured too.")
    public_url: HttpUrl = _derived(
        lambda data: f"http://{_reached(data['host'])}:{data['port']}",
        "Where clients and players reach this API: what the URLs of channels and next pages begin with. Behind a proxy or "
        "CDN it is that one's.",
        "http://<host>:<port>",
    )
    bootstrap_client: ClientName = Field("demo", description="The admin client that is made when the store has none.")
    bootstrap_api_key: SecretStr | None = Field(
        None, description="Its key; null generates one and writes it to `<data_dir>/api-key`."
    )
    sealing_key: SecretStr | None = Field(
        None,
        description="Seals the secrets in the database and in messages: 32 bytes in base64 or hexadecimal (`openssl rand "
        "-base64 32`). Of several, separated by commas, the first one seals and all open. Null takes that of "
        "`<data_dir>/sealing-key`, which an engine makes. Engines and workers that are to share secrets need the same.",
    )
    outbound_allow: tuple[IPvAnyNetwork, ...] = _derived(
        lambda data: ("127.0.0.0/8", "::1") if _is_loopback(data["host"]) else (),
        "Networks that callbacks, semaphores and sources may reach although they are private.",
        "[127.0.0.0/8, '::1'] when bound to loopback, else empty",
    )
    log: LogSettings = Field(LogSettings(), description="What is logged, and how.")
    storages: dict[Name, StorageSettings] = Field(
        {"local": StorageSettings(kind="local")},
        description="Where media lives, by name; `local` is there unless it is set otherwise.",
    )
    default_storage: str = Field("local", description="The storage of a job that names none.")
    key_providers: dict[Name, KeyProviderSettings] = Field(
        {"local": KeyProviderSettings(kind="seed")},
        description="Where the keys of protected assets come from, by name; a client's configuration names its own "
        "(`key_provider`).",
    )
    default_key_provider: str | None = Field(
        "local", description="The key provider of clients whose configuration names none; null: they have none."
    )
    workspace: str = _derived(
        lambda data: str(data["data_dir"] / "workspace"),
        "What passes between the tasks of a job: a folder that all workers share, or `s3://…`, `azure://…`.",
        "<data_dir>/workspace",
    )
    workspace_retention_h: Hours = Field(
        24, description="How long a failed job's workspace is kept for a rerun of what failed."
    )
    unfinished_uploads_h: Hours = Field(
        24,
        description="How old an upload to S3 may become whose worker is gone; then its parts are removed. No upload may "
        "take longer.",
    )
    scratch: AbsolutePath = _derived(
        lambda data: data["data_dir"] / "scratch",
        "Where attempts work: a local disk, private to this machine.",
        "<data_dir>/scratch",
    )
    scratch_space_factor: Number = Field(
        3, ge=0, description="Free space that a task asks for, as a multiple of its inputs' size; 0 asks for none."
    )
    external_queues: tuple[str, ...] = Field(
        (),
        description="Queues that workers of others serve: their steps may name any handler, and no worker of an engine "
        "takes their tasks.",
    )
    workflows_dirs: tuple[AbsolutePath, ...] = Field(
        (),
        description="Further directories of workflow files; a later one overrides by name. In the environment "
        "`TASKENGINE_WORKFLOWS_DIR`, separated by `:`.",
    )
    profiles_dirs: tuple[AbsolutePath, ...] = Field(
        (),
        description="Further directories of encoding profiles; a later one overrides by name, and `clients/<client>` in "
        "one for that client alone. In the environment separated by `:`. Workers need the same ones as the engine.",
    )
    concurrency: dict[Name, Count] = Field(
        {},
        description="Slots of the workers by queue. `default` is for queues not named here; without it, `transcode` "
        "has one per 4 cores (at least 1), `package` 2, `work` 4, and any other 2.",
    )
    heartbeat_s: Seconds = Field(5, description="Between a worker's signs of life.")
    lease_missed: AtLeastOne = Field(3, description="Heartbeats missed before a task is taken back.")
    drain_grace_s: Number = Field(30, ge=0, description="How long running tasks may go on after a signal to end.")
    start_wait_s: Number = Field(
        30, ge=0, description="How long an engine waits at its start for its database, and a worker for its broker."
    )
    stall_timeout_s: Seconds = Field(60, description="A media process without progress for so long is killed.")
    open_jobs_list: bool = Field(False, description="Answer `GET /jobs` without credentials (then without parameters).")
    debug_shell: bool = Field(False, description="Allow the handler `debug.shell`, which runs any command.")
    engine: EngineSettings = Field(EngineSettings(), description="System-wide settings until somebody sets them.")
    callbacks: CallbackSettings = Field(CallbackSettings(), description="How callbacks are delivered.")
    bus: BusSettings = Field(BusSettings(), description="How other systems use the broker.")
    tools: ToolSettings = Field(ToolSettings(), description="Where the media binaries are; null: the installed ones.")
    sandbox: SandboxSettings = Field(SandboxSettings(), description="What confines media processes.")
    http: HttpSettings = Field(HttpSettings(), description="Limits of the API.")
    health: HealthSettings = Field(HealthSettings(), description="The answer of `/health`.")

    @field_validator("sealing_key")
    @classmethod
    def _is_key(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            parse_keys(key.get_secret_value())
        return key

    @field_validator("default_storage")
    @classmethod
    def _exists(cls, name: str, info: ValidationInfo) -> str:
        storages = info.data.get("storages", {name: None})
        if name not in storages:
            raise ValueError(f"must be one of the storages ({', '.join(sorted(storages))})")
        return name

    @field_validator("default_key_provider")
    @classmethod
    def _provides(cls, name: str | None, info: ValidationInfo) -> str | None:
        providers = info.data.get("key_providers", {name: None})
        if name is not None and name not in providers:
            raise ValueError(f"must be one of the key_providers ({', '.join(sorted(providers))}), or null")
        return name

    def slots(self, queue: str) -> int:
        """How many tasks of a queue one process runs at a time."""
        given = self.concurrency.get(queue, self.concurrency.get("default"))
        return _built_in_slots(queue) if given is None else given

    def redacted(self) -> dict[str, Any]:
        """The whole tree as JSON, without its secrets."""
        tree = self.model_dump(mode="json")
        for name in ("database_url", "broker_url", "workspace"):
            tree[name] = masked(tree[name])
        for storage in tree["storages"].values():
            storage["url"] = masked(storage["url"]) if storage["url"] else None
        return tree

    def __repr__(self) -> str:
        """No value of a setting: URLs may carry passwords."""
        return f"<{type(self).__name__}>"

    __str__ = __repr__


def _built_in_slots(queue: str) -> int:
    if queue == "transcode":
        return max(1, cores() // 4)  # an encoder fills about four cores
    return {"package": 2, "work": 4}.get(queue, 2)
