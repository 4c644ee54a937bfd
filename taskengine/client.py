"""A client of a running engine's REST API, as the command line uses it.

The engine's answers come back as the JSON they are; its refusals as the errors of `domain.errors`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp

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

JsonObject = dict[str, Any]
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0


class UnexpectedAnswer(TaskEngineError):
    """Something answered that no rule of the API foresees: a fault of the engine, or no Task Engine at all."""


class Client:
    """The calls of the API, one method each. Made by `connect`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url.rstrip("/")

    # ------------------------------------------------------------------------------------------------- jobs

    async def submit(self, body: Mapping[str, Any], *, idempotency_key: str | None = None) -> JsonObject:
        """Submit a job; the answer with its id and the ids of its tasks."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return cast(JsonObject, await self._call("POST", "/job", body=body, headers=headers))

    async def jobs(self, query: Mapping[str, str]) -> list[JsonObject]:
        """A page of jobs."""
        return cast("list[JsonObject]", await self._call("GET", "/jobs", query=query))

    async def job(self, job_id: int) -> JsonObject:
        """One job."""
        return cast(JsonObject, await self._call("GET", f"/jobs/{job_id}"))

    async def tasks(self, job_id: int) -> list[JsonObject]:
        """A job's tasks, each with its attempts."""
        return cast("list[JsonObject]", await self._call("GET", f"/jobs/{job_id}/tasks"))

    async def logs(self, job_id: int, query: Mapping[str, str] | None = None) -> list[JsonObject]:
        """A job's log, oldest first."""
        return cast("list[JsonObject]", await self._call("GET", f"/logs/{job_id}", query=query))

    async def update(self, job_id: int, fields: Mapping[str, Any]) -> JsonObject:
        """Change a job: queue_state (`paused`, `queued`, `broken`), priority, run_at …, all or none."""
        return cast(JsonObject, await self._call("PATCH", f"/jobs/{job_id}", body=fields))

    async def rerun(self, job_id: int, *, from_failed: bool = False) -> JsonObject:
        """Run a job again as a new one."""
        query = {"from": "failed"} if from_failed else None
        return cast(JsonObject, await self._call("POST", f"/jobs/{job_id}/rerun", query=query))

    # --------------------------------------------------------------------------------------------- callbacks

    async def callbacks(self, job_id: int) -> list[JsonObject]:
        """Every delivery of a job's callbacks."""
        return cast("list[JsonObject]", await self._call("GET", f"/jobs/{job_id}/callbacks"))

    async def replay_callback(self, job_id: int, callback_id: int) -> JsonObject:
        """Make a callback due again."""
        return cast(JsonObject, await self._call("POST", f"/jobs/{job_id}/callbacks/{callback_id}/replay"))

    # ------------------------------------------------------------------------------------------------ engine

    async def health(self) -> JsonObject:
        """The engine's health; where a component is down too (the body then has `error`)."""
        return cast(JsonObject, await self._call("GET", "/health", accept=(500,)))

    async def workers(self) -> list[JsonObject]:
        """Every worker that was heard of lately."""
        answer = await self._call("GET", "/workers")
        return cast("list[JsonObject]", answer["workers"] if isinstance(answer, dict) else answer)

    async def save_setting(self, name: str, setting: str | float) -> JsonObject:
        """Set a setting: an admin's of the system, another client's of its own."""
        return cast(JsonObject, await self._call("POST", "/settings", body={"name": name, "setting": setting}))

    # ----------------------------------------------------------------------------------------------- one call

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        accept: Sequence[int] = (),
    ) -> Any:
        try:
            async with self._session.request(
                method, self.url + path, json=body, params=query, headers=headers, allow_redirects=False
            ) as response:
                answer = await _json(response)
                if response.status < 300 or (response.status in accept and isinstance(answer, dict)):
                    return answer
                raise _refusal(response.status, answer, self.url)
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
async def connect(url: str, *, client: str, api_key: str | None) -> AsyncIterator[Client]:
    """A client of the engine at `url`, with these credentials on every call."""
    headers = {"client": client, "Accept": "application/json"}
    if api_key:
        headers["api-key"] = api_key
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
        yield Client(session, url)


async def _json(response: aiohttp.ClientResponse) -> Any:
    try:
        return await response.json(content_type=None)
    except ValueError:
        return None


def _refusal(status: int, answer: Any, url: str) -> TaskEngineError:
    body = answer if isinstance(answer, dict) else {}
    message = body.get("error")
    if not isinstance(message, str):
        if status == 404:
            return NotFound(f"{url} knows nothing of that")
        return UnexpectedAnswer(f"{url} answered {status}, not as a Task Engine does")
    if status in {400, 413, 415}:
        details = [detail for detail in body.get("details") or () if isinstance(detail, dict)]
        return InvalidRequest(message, [Fault(str(d.get("path", "")), str(d.get("message", ""))) for d in details])
    refusals: dict[int, type[TaskEngineError]] = {401: Unauthorized, 403: Forbidden, 404: NotFound, 409: Conflict}
    return refusals.get(status, UnexpectedAnswer)(message)
