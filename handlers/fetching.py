"""Fetching what a job's parameters name, as often as the client allows."""

from __future__ import annotations

import asyncio

from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from taskengine.domain.errors import StorageError
from taskengine.handlers.support import storage_faults, warn
from taskengine.ports import Storage, TaskContext


async def fetch_source(
    context: TaskContext, storage: Storage, path: str, plain: str, what: str = "source_folder"
) -> None:
    """Fetch a file into scratch under a plain name, with the job's `retries`; faults are told of the parameter `what`."""
    tries = 1 + max(0, int(context.inputs.get("retries") or 0))
    target = context.scratch / plain
    with storage_faults(f"{what}: {path!r}"):
        async for attempt in AsyncRetrying(
            stop=stop_after_attempt(tries),
            wait=wait_exponential_jitter(multiplier=0.5, max=30),
            retry=retry_if_exception(lambda error: isinstance(error, StorageError) and error.retryable),
            reraise=True,
        ):
            with attempt:
                if attempt.retry_state.attempt_number > 1:
                    warn(context, f"{path}: fetched again, try {attempt.retry_state.attempt_number} of {tries}")
                    await asyncio.to_thread(target.unlink, missing_ok=True)
                await storage.fetch(path, target)
