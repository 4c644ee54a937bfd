"""Unfinished uploads of S3: the parts of files that a crash or a broken connection left, which cost and are not seen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import aiohttp
import structlog
from lxml import etree
from yarl import URL

from taskengine.domain.errors import StorageError
from taskengine.storage.signing import Signer, query_string

log = structlog.get_logger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)
_PARSER: Mapping[str, Any] = {"resolve_entities": False, "no_network": True, "load_dtd": False}


@dataclass(frozen=True, slots=True)
class Unfinished:
    """One upload whose end never came."""

    key: str
    upload_id: str
    begun: int  # milliseconds


class S3Uploads:
    """The unfinished uploads below one prefix of a bucket. `base` is the bucket's URL, without a slash at its end."""

    def __init__(self, base: str, prefix: str, signer: Signer) -> None:
        self._base, self._prefix, self._signer = base, prefix, signer

    async def known(self, key: str) -> frozenset[str]:
        """The ids of those of one key (relative to the prefix); none where they cannot be read, which the log tells."""
        whole = self._whole(key)
        try:
            async with self._session() as session:
                return frozenset([each.upload_id async for each in self._list(session, whole) if each.key == whole])
        except StorageError as error:
            log.warning("uploads_not_looked_at", key=whole, error=str(error))
            return frozenset()

    async def abort(self, key: str, ids: frozenset[str] | None = None) -> int:
        """End those of one key, or `ids` of them alone. A fault of it is told in the log: the janitor tries again."""
        whole = self._whole(key)
        return await self._tolerated(whole, lambda each: each.key == whole and (ids is None or each.upload_id in ids))

    async def abort_below(self, folder: str) -> int:
        """End those of all keys below a folder; faults as with `abort`."""
        return await self._tolerated(f"{self._whole(folder)}/", lambda _: True)

    async def _tolerated(self, prefix: str, wanted: Callable[[Unfinished], bool]) -> int:
        try:
            return await self._abort(prefix, wanted)
        except StorageError as error:
            log.warning("upload_not_aborted", key=prefix, error=str(error))
            return 0

    def _whole(self, key: str) -> str:
        return f"{self._prefix}/{key}".lstrip("/")

    async def sweep(self, before: int) -> int:
        """End all that began before a time (milliseconds); how many. Raises StorageError."""
        prefix = f"{self._prefix}/" if self._prefix else ""
        return await self._abort(prefix, lambda upload: upload.begun < before)

    async def _abort(self, prefix: str, wanted: Callable[[Unfinished], bool]) -> int:
        async with self._session() as session:
            found = [upload async for upload in self._list(session, prefix) if wanted(upload)]
            for upload in found:
                url = f"{self._base}/{quote(upload.key, safe='/-_.~')}"
                await self._ask(session, "DELETE", url, {"uploadId": upload.upload_id})
        return len(found)

    async def _list(self, session: aiohttp.ClientSession, prefix: str) -> AsyncIterator[Unfinished]:
        marker = {"uploads": "", "prefix": prefix}
        while True:
            answer = _parsed(await self._ask(session, "GET", f"{self._base}/", marker))
            for upload in answer.iterfind("{*}Upload"):
                begun = datetime.fromisoformat(_text(upload, "Initiated")).timestamp()
                yield Unfinished(_text(upload, "Key"), _text(upload, "UploadId"), round(begun * 1000))
            if _text(answer, "IsTruncated") != "true":
                return
            marker["key-marker"] = _text(answer, "NextKeyMarker")
            marker["upload-id-marker"] = _text(answer, "NextUploadIdMarker")

    async def _ask(self, session: aiohttp.ClientSession, method: str, url: str, query: Mapping[str, str]) -> bytes:
        headers = self._signer.headers(method, url, query, datetime.now(UTC))
        whole = URL(f"{url}?{query_string(query)}", encoded=True)
        try:
            async with session.request(method, whole, headers=headers) as response:
                body = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise StorageError(f"{method} of unfinished uploads: {type(error).__name__}") from error
        if response.status == 404 and method == "DELETE":
            return b""  # it ended meanwhile
        if response.status >= 300:
            raise StorageError(f"{method} of unfinished uploads: the server answered {response.status}")
        return body

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        connector = aiohttp.TCPConnector(
            resolver=aiohttp.ThreadedResolver()
        )  # the system's, as the library of buckets has it
        async with aiohttp.ClientSession(
            timeout=_TIMEOUT, connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            yield session


def _parsed(body: bytes) -> Any:
    try:
        return etree.fromstring(body, etree.XMLParser(**_PARSER))
    except etree.XMLSyntaxError as error:
        raise StorageError("the list of unfinished uploads is no XML") from error


def _text(element: Any, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""
