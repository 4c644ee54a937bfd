"""The kinds of value that settings have, beyond what pydantic brings."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from taskengine.domain.tenants import CLIENT_NAME, CLIENT_NAME_RULE

_PASSWORD = re.compile(r"(?<=://)([^/@:\s]*):[^/@\s]+(?=@)")
_HTTP = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?", re.ASCII)
_URL = re.compile(r"[a-z][a-z0-9+.-]*://.*", re.DOTALL)


class Group(BaseModel):
    """A part of the tree: frozen, every name known, and no value of it in a fault."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a number, is true or false")  # noqa: TRY004 - pydantic collects ValueErrors alone
    return value


def _absolute(path: Path) -> Path:
    return path.expanduser().absolute()


def _url(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError("must be a URL, such as scheme://host/path")
    return value


def _http_url(value: str) -> str:
    if not _HTTP.fullmatch(value):
        raise ValueError("must be http://host or https://host, with a port and a path where needed, and nothing else")
    return value.rstrip("/")


def _database_url(value: str) -> str:
    if value.startswith(("postgresql://", "postgres://")):
        return value
    if value.startswith("sqlite:///") and value != "sqlite:///":
        return value
    raise ValueError("must be sqlite:///path or postgresql://…")


def _client_name(value: str) -> str:
    if not CLIENT_NAME.fullmatch(value):
        raise ValueError(CLIENT_NAME_RULE)
    return value


def masked(url: str) -> str:
    """The URL without its password."""
    return _PASSWORD.sub(r"\1:***", url)


Number = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
Seconds = Annotated[Number, Field(gt=0)]
Hours = Annotated[Number, Field(ge=0)]
WholeNumber = Annotated[int, BeforeValidator(_no_boolean)]
Count = Annotated[WholeNumber, Field(ge=0)]
AtLeastOne = Annotated[WholeNumber, Field(ge=1)]
Port = Annotated[WholeNumber, Field(ge=0, le=65535)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Url = Annotated[str, AfterValidator(_url)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
ClientName = Annotated[str, AfterValidator(_client_name)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]
