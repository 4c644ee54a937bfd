"""Signs requests to S3 (Signature Version 4) that the storage library has no call for."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Signer:
    """The credentials of one account in one region."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str = "us-east-1"
    session_token: str | None = field(default=None, repr=False)

    def headers(
        self, method: str, url: str, query: Mapping[str, str], now: datetime, body: bytes = b""
    ) -> dict[str, str]:
        """The headers of a request to `url` (its path encoded already, no query of its own) with this query."""
        parts = urlsplit(url)
        moment = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {
            "host": parts.netloc,
            "x-amz-content-sha256": hashlib.sha256(body).hexdigest(),
            "x-amz-date": moment,
            **({"x-amz-security-token": self.session_token} if self.session_token else {}),
        }
        names = ";".join(sorted(headers))
        request = "\n".join([
            method, parts.path or "/", query_string(query),
            *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, headers["x-amz-content-sha256"],
        ])  # fmt: skip
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        text = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(request.encode()).hexdigest()])
        signature = hmac.new(self._key(moment[:8]), text.encode(), hashlib.sha256).hexdigest()
        credential = f"Credential={self.access_key_id}/{scope}"
        return {**headers, "authorization": f"{_ALGORITHM} {credential},SignedHeaders={names},Signature={signature}"}

    def _key(self, day: str) -> bytes:
        key = f"AWS4{self.secret_access_key}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key


def query_string(query: Mapping[str, str]) -> str:
    """A query as it is signed: sorted, each name with its value, everything but unreserved characters encoded."""
    encoded = {quote(name, safe="-_.~"): quote(value, safe="-_.~") for name, value in query.items()}
    return "&".join(f"{name}={value}" for name, value in sorted(encoded.items()))
