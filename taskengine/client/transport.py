"""One call of a running engine's API: its answer as the JSON it is, its refusals as the errors of `domain.errors`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
from yarl import URL

from taskengine.domain.errors import (
    Conflict,
    EngineUnreachable,
    Fault,
    Forbidden,
    InvalidRequest,
    NotFound,
    TaskEngineError,
    Unauthorized,
)

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
SILENCE_S = 45.0  # in a stream, which says something every 15 seconds


class UnexpectedAnswer(TaskEngineError):
    """Something answered that no rule of the API foresees: a fault of the engine, or no Task Engine at all."""


class TooManyRequests(TaskEngineError):
    """The client calls more often than it may; `retry_after` in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Transport:
    """Calls with the client's credentials."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url.rstrip("/")

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        accept: Sequence[int] = (),
    ) -> Any:
        """The answer; that of a status beyond 2xx only where `accept` has it."""
        answer, _ = await self._ask(method, path, accept, json=body, params=query, headers=headers)
        return answer

    async def page(self, path: str, query: Mapping[str, str]) -> tuple[Any, Mapping[str, str] | None]:
        """A page of a list, and the query of the next one, where there is one."""
        answer, response = await self._ask("GET", path, (), params=query)
        return answer, _following(response)

    async def _ask(
        self, method: str, path: str, accept: Sequence[int], **request: Any
    ) -> tuple[Any, aiohttp.ClientResponse]:
        """The answer, read, and what it came with."""
        _judge(request.get("headers") or {})
        with self._faults():
            async with self._session.request(method, self.url + path, allow_redirects=False, **request) as response:
                answer = await _json(response)
                if response.status >= 300 and not (response.status in accept and isinstance(answer, dict)):
                    raise _refusal(response, answer, self.url)
                return answer, response

    async def text(self, path: str) -> str:
        """An answer that is no JSON."""
        with self._faults():
            async with self._session.get(self.url + path, allow_redirects=False) as response:
                if response.status >= 300:
                    raise _refusal(response, await _json(response), self.url)
                return await response.text()

    @asynccontextmanager
    async def stream(self, path: str, last_event_id: str | None) -> AsyncIterator[aiohttp.StreamReader | None]:
        """The body of an event stream as it comes; None where there is nothing more to come."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_event_id} if last_event_id else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_S)
        with self._faults():
            async with self._session.get(
                self.url + path, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                if response.status >= 300:
                    raise _refusal(response, await _json(response), self.url)
                yield None if response.status == 204 else response.content

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Errors of the connection as EngineUnreachable."""
        try:
            yield
        except TimeoutError as error:
            raise EngineUnreachable(f"{self.url} did not answer in time") from error
        except aiohttp.InvalidURL as error:
            raise InvalidRequest(f"not a URL: {self.url}") from error
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno or 0
            reason = (os.strerror(number) if number > 0 else str(error.os_error.strerror)).lower()
            raise EngineUnreachable(f"cannot reach an engine at {self.url}: {reason}") from error
        except aiohttp.ClientError as error:
            raise EngineUnreachable(f"cannot reach an engine at {self.url}: {error}") from error


@asynccontextmanager
async def transport(url: str, *, client: str, api_key: str | None) -> AsyncIterator[Transport]:
    """Calls of the engine at `url`, with these credentials on each."""
    headers = {"client": client, "Accept": "application/json"}
    if api_key:
        headers["api-key"] = api_key
    _judge(headers)
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
    connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver())  # the system's: names beyond DNS, too
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
        yield Transport(session, url)


def _judge(headers: Mapping[str, str]) -> None:
    """InvalidRequest where one cannot be sent."""
    for name, value in headers.items():
        if any(ord(character) < 32 or ord(character) == 127 for character in value):
            raise InvalidRequest(f"{name} must not have control characters")


def _following(response: aiohttp.ClientResponse) -> Mapping[str, str] | None:
    """The query of the page that the header `Link` names."""
    link = response.links.get("next")
    return None if link is None else dict(URL(link["url"]).query)


async def _json(response: aiohttp.ClientResponse) -> Any:
    try:
        return await response.json(content_type=None)
    except ValueError:
        return None


def _refusal(response: aiohttp.ClientResponse, answer: Any, url: str) -> TaskEngineError:
    status = response.status
    body = answer if isinstance(answer, dict) else {}
    message = body.get("error")
    if not isinstance(message, str):
        if status == 404:
            return NotFound(f"{url} knows nothing of that")
        return UnexpectedAnswer(f"{url} answered {status}, not as a Task Engine does")
    if status in {400, 413, 415}:
        details = [detail for detail in body.get("details") or () if isinstance(detail, dict)]
        return InvalidRequest(message, [Fault(str(d.get("path", "")), str(d.get("message", ""))) for d in details])
    if status == 429:
        after = response.headers.get("Retry-After", "")
        return TooManyRequests(message, float(after) if after.isdigit() else 1.0)
    refusals: dict[int, type[TaskEngineError]] = {
        401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict,
        503: EngineUnreachable,  # it answers, but what it needs does not
    }  # fmt: skip
    return refusals.get(status, UnexpectedAnswer)(message)
