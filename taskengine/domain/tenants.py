"""Who calls, and what a client's configuration says."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from taskengine.domain.callback_config import (
    EVENTS,
    EndpointRule,
    read_endpoints,
    read_events,
    read_fields,
    read_headers,
    read_secrets,
    read_templates,
)
from taskengine.domain.errors import Fault, InvalidRequest
from taskengine.domain.paths import PathFault, logical_path
from taskengine.domain.words import nearest


class Role(StrEnum):
    """What a client may do. Each may do what the ones after it may, but for `submitter`, which sees its own alone too."""

    ADMIN = "admin"  # everything, for every client
    OPERATOR = "operator"  # every job, neither clients nor settings
    SUBMITTER = "submitter"  # its own jobs
    VIEWER = "viewer"  # looks at its own jobs


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated client."""

    client: str
    role: Role

    @property
    def sees_all(self) -> bool:
        """Whether other clients' jobs exist for it."""
        return self.role in {Role.ADMIN, Role.OPERATOR}

    @property
    def acts(self) -> bool:
        """Whether it may submit and change jobs."""
        return self.role is not Role.VIEWER


EVERY_WORKFLOW = "*"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
CLIENT_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
CLIENT_NAME_RULE = "must begin with a small letter and have small letters, digits, _ and - (64 at most)"


@dataclass(frozen=True, slots=True)
class Rate:
    """How often one may call: `per_second` in the long run, `burst` calls at once."""

    per_second: float
    burst: int


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """A client's configuration. `compatibility: original` sets in one word what a client that moves over expects."""

    not_found_as_400: bool = False  # 404 of the published calls
    conflict_as_400: bool = False  # 409 of the published calls
    unauthorized_result: bool = False  # `result` beside `error` in a 401
    manifest_style: str = "plain"  # or `ism`
    callback_ids: str = "number"  # or `string`, `hidden`
    callback_extra_fields: bool = True  # fields beyond the published ones
    callback_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    callback_secrets: Sequence[str] = field(default=(), repr=False)  # base64, with or without `whsec_`: each signs
    callback_verify_tls: bool = True
    callback_events: Sequence[str] = EVENTS  # those that its endpoints are told of
    callback_fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # task, job → further fields
    callback_template: Mapping[str, Any] = field(default_factory=dict)  # task, job → in the published body's place
    callback_endpoints: Sequence[EndpointRule] = ()  # what differs for some of its endpoints
    strict_parameters: bool = False  # an unknown parameter is a fault, not a warning
    weight: float = 1.0  # in the fair share
    max_jobs: int | None = None  # what the client's own setting may not go beyond
    rate: Rate | None = None  # how often it may call; None: as often as it likes
    workflows: Sequence[str] | None = None  # those that it may submit; None: all
    outbound_allow: Sequence[str] = ()  # networks that its URLs may reach although private
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # workflow, or "*" for all → parameters
    storages: Sequence[str] | None = None  # those that its jobs may use; None: all
    default_storage: str | None = None  # of a job that names none; None: the installation's, or the first of `storages`
    roots: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # storage → name of a root → its folder
    key_provider: str | None = None  # of the installation's `key_providers`; None: its default
    track_properties: Mapping[str, Any] | None = None  # of jobs that give none, in the form of the parameter

    def may_use(self, storage: str) -> bool:
        """Whether its jobs may use a storage."""
        return self.storages is None or storage in self.storages

    def defaults_of(self, workflow: str) -> dict[str, Any]:
        """Its parameters where a job does not give them: those for all workflows, and those for this one before them."""
        return {**self.defaults.get(EVERY_WORKFLOW, {}), **self.defaults.get(workflow, {})}

    def storage_by_default(self, installation: str) -> str:
        """The storage of a job that names none."""
        if self.default_storage is not None:
            return self.default_storage
        return installation if self.may_use(installation) or not self.storages else self.storages[0]

    @property
    def public(self) -> dict[str, Any]:
        """What expressions of a workflow see as `client`."""
        return {
            "manifest_style": self.manifest_style,
            "callback_ids": self.callback_ids,
            "callback_extra_fields": self.callback_extra_fields,
            "strict_parameters": self.strict_parameters,
            "track_properties": dict(self.track_properties) if self.track_properties else None,
        }


COMPATIBILITY: Mapping[str, Mapping[str, Any]] = {
    "original": {
        "not_found_as_400": True,
        "conflict_as_400": True,
        "unauthorized_result": True,
        "manifest_style": "ism",
        "callback_extra_fields": False,
    }
}


def parse_client_config(raw: Mapping[str, Any]) -> ClientConfig:
    """Judge a configuration as it was given or stored; InvalidRequest with every fault at once."""
    faults: list[Fault] = []
    values: dict[str, Any] = {}
    for name, value in raw.items():
        try:
            if name == "compatibility":
                _compatibility(value)
            elif name in _READERS:
                values[name] = _READERS[name](value)
            else:
                raise ValueError(f"is not known{nearest(name, ['compatibility', *_READERS])}")
        except ValueError as error:
            faults.append(Fault(f"/config/{name}", str(error)))
    if faults:
        text = "; ".join(f"{fault.path} {fault.message}" for fault in faults)
        raise InvalidRequest(f"The client's configuration is not valid: {text}", faults)
    return ClientConfig(**{**_compatibility(raw.get("compatibility")), **values})


def _compatibility(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, str) or value not in COMPATIBILITY:
        raise ValueError(f"must be one of {', '.join(COMPATIBILITY)}")
    return COMPATIBILITY[value]


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004  # a fault of a value, gathered with the others
    return value


def _word(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return read


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) and text for text in value):
        raise ValueError("must be a list of texts")
    return tuple(value)


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.01 <= value <= 1000:
        raise ValueError("must be a number from 0.01 to 1000")
    return float(value)


def _max_jobs(value: Any) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000):
        raise ValueError("must be a whole number from 1 to 100000, or null")
    return value


def _rate(value: Any) -> Rate | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not {"per_second"} <= value.keys() <= {"per_second", "burst"}:
        raise ValueError("must be an object of per_second and burst, or null")
    per_second = value["per_second"]
    if isinstance(per_second, bool) or not isinstance(per_second, int | float) or not 0.01 <= per_second <= 100_000:
        raise ValueError("must have a per_second from 0.01 to 100000")
    burst = value.get("burst", max(round(per_second), 1))
    if isinstance(burst, bool) or not isinstance(burst, int) or not 1 <= burst <= 100_000:
        raise ValueError("must have a burst that is a whole number from 1 to 100000")
    return Rate(float(per_second), burst)


def _workflows(value: Any) -> tuple[str, ...] | None:
    return None if value is None else _texts(value)


def _networks(value: Any) -> tuple[str, ...]:
    return tuple(str(ipaddress.ip_network(text, strict=False)) for text in _texts(value))


def _storages(value: Any) -> tuple[str, ...] | None:
    if value is not None and not _texts(value):
        raise ValueError("must name at least one storage, or be null")
    return None if value is None else _texts(value)


def _storage(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError("must be the name of a storage, or null")
    return value


def _roots(value: Any) -> dict[str, dict[str, str]]:
    if not isinstance(value, Mapping) or not all(isinstance(given, Mapping) for given in value.values()):
        raise ValueError("must be an object of storages, each with an object of roots and their folders")
    return {
        str(storage): {str(root): _folder(root, path) for root, path in own.items()} for storage, own in value.items()
    }


def _folder(root: Any, path: Any) -> str:
    """A folder within the storage: a client's root never leads out of it."""
    if not isinstance(path, str):
        raise ValueError(f"{root}: must be a folder within the storage")  # noqa: TRY004  # as above
    try:
        return logical_path(path)
    except PathFault as error:
        raise ValueError(f"{root}: {error}") from None


def _name(value: Any) -> str | None:
    if value is not None and (not isinstance(value, str) or not _NAME.fullmatch(value)):
        raise ValueError("must be a name of letters, digits, _ and -, or null")
    return value


def _properties(value: Any) -> dict[str, Any] | None:
    if value is not None and not isinstance(value, Mapping):
        raise ValueError("must be an object, or null")
    return None if value is None else dict(value)


def _defaults(value: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(value, Mapping) or not all(isinstance(given, Mapping) for given in value.values()):
        raise ValueError('must be an object of workflows, or "*" for all, each with an object of parameters')
    return {str(workflow): dict(given) for workflow, given in value.items()}


_READERS: Mapping[str, Callable[[Any], Any]] = {
    "not_found_as_400": _flag,
    "conflict_as_400": _flag,
    "unauthorized_result": _flag,
    "manifest_style": _word("plain", "ism"),
    "callback_ids": _word("number", "string", "hidden"),
    "callback_extra_fields": _flag,
    "callback_headers": read_headers,
    "callback_secrets": read_secrets,
    "callback_events": read_events,
    "callback_fields": read_fields,
    "callback_template": read_templates,
    "callback_endpoints": read_endpoints,
    "callback_verify_tls": _flag,
    "strict_parameters": _flag,
    "weight": _weight,
    "max_jobs": _max_jobs,
    "rate": _rate,
    "defaults": _defaults,
    "storages": _storages,
    "default_storage": _storage,
    "roots": _roots,
    "key_provider": _name,
    "track_properties": _properties,
    "workflows": _workflows,
    "outbound_allow": _networks,
}

CONFIG_NAMES: Sequence[str] = ("compatibility", *(each.name for each in fields(ClientConfig)))
