"""Where media lives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from taskengine.settings.values import Count, Group, Seconds


def _roots(value: Any) -> Any:
    named = {"output_root": value} if isinstance(value, str) else value
    return {"output_root": "output", **named} if isinstance(named, dict) else named


class StorageSettings(Group):
    """A place where media lives: a folder, an S3 bucket or an Azure container, with its roots."""

    kind: Literal["local", "s3", "azure"] = Field(..., description="`local`, `s3` or `azure`.")
    url: str | None = Field(
        None,
        description="A folder, `s3://bucket/prefix` or `azure://container/prefix`. Null for a local one is "
        "`<data_dir>/storage`.",
    )
    source_root: str = Field("source", description="Where sources are looked for, under `url`.")
    output_root: Annotated[dict[str, str], BeforeValidator(_roots)] = Field(
        {"output_root": "output"},
        description="Where assets go, under `url`: names of roots and their folders. A job names one of them; "
        "`output_root` is the default one, and a plain string stands for it alone.",
    )
    credentials: dict[str, SecretStr] = Field(
        {},
        description="What the storage asks for (`access_key_id`, `secret_access_key`, `account_key`, …); what is not here "
        "is taken from the `AWS_*` or `AZURE_STORAGE_*` variables, or from the machine's role.",
    )
    options: dict[str, str] = Field(
        {},
        description="What else a bucket needs to be told: `endpoint`, `region`, `virtual_hosted_style_request`, "
        "`account_name`, … An endpoint of `http://` is called without TLS.",
    )
    retries: Count = Field(5, description="Further tries of a request to a bucket that failed.")
    request_timeout_s: Seconds = Field(60, description="Of one request to a bucket, which carries at most 8 MiB.")
    verify_uploads: bool | None = Field(
        None,
        description="Whether what was put into a bucket is read back and compared. Null: on Azure alone, since S3 checks "
        "what arrives by its signature.",
    )

    @field_validator("url")
    @classmethod
    def _where(cls, url: str | None, info: ValidationInfo) -> str | None:
        if not url and info.data.get("kind", "local") != "local":
            raise ValueError(f"a storage of kind {info.data['kind']} needs one")
        return url

    def folder(self, data_dir: Path) -> Path:
        """The folder of a local storage."""
        return Path(self.url.removeprefix("file://")).expanduser().absolute() if self.url else data_dir / "storage"
