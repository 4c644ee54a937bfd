"""Makes the storages of S3 and Azure from their settings, and from the variables that their owners define."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from obstore import exceptions
from obstore.store import AzureStore, S3Store

from taskengine.storage.object_transfers import ObjectStore
from taskengine.storage.objects import ObjectStorage, Place
from taskengine.storage.signing import Signer
from taskengine.storage.uploads import S3Uploads

_KNOWN = {"kind", "url", "credentials", "options", "retries", "request_timeout_s", "verify_uploads"}
_ALLOW_HTTP = ("true", "1", "yes", "on")


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket or container as its settings describe it, with all that a request to it needs."""

    place: Place
    config: Mapping[str, str]
    retries: int
    timeout_s: float
    verify: bool | None

    def storage(self) -> ObjectStorage:
        """The storage of it. ValueError that says what is wrong with the settings."""
        made = S3Store if self.place.kind == "s3" else AzureStore
        config: Any = dict(self.config)
        try:
            store: ObjectStore = made(
                self.place.bucket,
                prefix=self.place.prefix or None,
                config=config,
                client_options={
                    "allow_http": self._allows_http(),
                    "connect_timeout": timedelta(seconds=min(10.0, self.timeout_s)),
                    "timeout": timedelta(seconds=self.timeout_s),
                },
                retry_config={"max_retries": self.retries, "retry_timeout": timedelta(seconds=4 * self.timeout_s)},
            )
        except (exceptions.BaseError, ValueError) as error:
            raise ValueError(str(error).partition("\n")[0]) from error
        read_back = self.place.kind == "azure" if self.verify is None else self.verify
        return ObjectStorage(store, self.place, read_back=read_back, uploads=self.uploads())

    def uploads(self) -> S3Uploads | None:
        """What is unfinished in it; None where it cannot be asked: Azure forgets by itself after a week, and without a
        key of its own (a role of the machine) a rule of the bucket has to."""
        key, secret = self.credential("access_key_id"), self.credential("secret_access_key")
        if self.place.kind != "s3" or not key or not secret:
            return None
        region = self.credential("region") or self.credential("default_region") or "us-east-1"
        endpoint = (self.credential("endpoint") or self.credential("endpoint_url") or "").rstrip("/")
        bucket = quote(self.place.bucket)
        virtual = self.credential("virtual_hosted_style_request") in _ALLOW_HTTP
        if not endpoint:
            base = f"https://s3.{region}.amazonaws.com/{bucket}"
        else:
            base = endpoint if virtual else f"{endpoint}/{bucket}"
        signer = Signer(key, secret, region, self.credential("session_token") or self.credential("token"))
        return S3Uploads(base, self.place.prefix, signer)

    def _allows_http(self) -> bool:
        endpoint = self.credential("endpoint") or self.credential("endpoint_url") or ""
        return endpoint.startswith("http://") or (self.credential("allow_http") or "").lower() in _ALLOW_HTTP

    def credential(self, name: str) -> str | None:
        """What the settings say, or else the variable of this name."""
        variable = ("AWS_" if self.place.kind == "s3" else "AZURE_STORAGE_") + name.upper()
        return self.config.get(name) or os.environ.get(variable)


def bucket(settings: Mapping[str, Any], root: str) -> Bucket:
    """The bucket of one root: below the storage's `url`, or one of its own (`s3://…`). ValueError where they are wrong."""
    if unknown := settings.keys() - _KNOWN - {"source_root", "output_root", "output_roots"}:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    kind = str(settings["kind"])
    own = "://" in root
    place = place_of(root if own else str(settings.get("url") or ""), kind)
    if not own:
        prefix = "/".join(part for part in f"{place.prefix}/{root}".split("/") if part)
        place = Place(kind, place.bucket, prefix)
    secrets = {name: _plain(value) for name, value in (settings.get("credentials") or {}).items()}
    return Bucket(
        place,
        {**{name: str(value) for name, value in (settings.get("options") or {}).items()}, **secrets},
        int(settings.get("retries", 5)),
        float(settings.get("request_timeout_s", 60)),
        settings.get("verify_uploads"),
    )


def place_of(url: str, kind: str) -> Place:
    """`s3://bucket/prefix` or `azure://container/prefix`; ValueError where it is none of this kind."""
    parts = urlsplit(url)
    if parts.scheme != kind or not parts.netloc or parts.query or parts.fragment or "@" in parts.netloc:
        raise ValueError(f"the url of a storage of this kind is {kind}://bucket/prefix, not {url[:200]!r}")
    return Place(kind, parts.netloc, "/".join(part for part in parts.path.split("/") if part))


def _plain(value: Any) -> str:
    return str(value.get_secret_value() if hasattr(value, "get_secret_value") else value)
