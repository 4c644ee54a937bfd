"""The jobs' shared workspace in a storage of any kind: what passes between tasks, by job, task, attempt and token."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from taskengine.domain.errors import InputFault, InternalFault, NotFound, ResourceFault, StorageError
from taskengine.domain.paths import PathFault, logical_path
from taskengine.ports import Storage
from taskengine.storage.copying import in_thread

SCHEME = "ws://"
_LOOKS_AT_ONCE = 16
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ATTEMPT = re.compile(r"(?P<job>[0-9]+)/[0-9]+/[0-9]+-[A-Za-z0-9_-]+/.+", re.DOTALL)


class JobWorkspace:
    """One attempt's view of its job's workspace; the contract is `ports.Workspace`'s.

    `job_id` is that of the job that had the workspace first: a rerun from what failed goes on in it.
    Where storage and scratch are on one disk, files are linked into the scratch and out of it, so they must never be
    modified in place.
    """

    def __init__(self, storage: Storage, scratch: Path, *, job_id: int, task_id: int, attempt: int, token: str) -> None:
        if not _TOKEN.fullmatch(token):
            raise InternalFault(f"the token {token!r} cannot be part of a path")
        self._storage = storage
        self._scratch = scratch
        self._taken: set[Path] = set()
        self._job_id = job_id
        self._own = f"{job_id}/{task_id}/{attempt}-{token}"

    async def fetch(self, reference: Mapping[str, Any], name: str | None = None) -> Path:
        """Bring a file of this job into the scratch under a plain ASCII name that is not taken yet."""
        path = self._path(reference)
        plain = plain_name(name or path.rpartition("/")[2])
        target = await self._fetch(path, plain)
        expected = reference.get("size")
        size = await in_thread(lambda _: target.stat().st_size)
        if expected is not None and size != expected:
            raise InternalFault(f"{SCHEME}{path} has {size} bytes; its reference says {expected}")
        return target

    async def distant(self, reference: Mapping[str, Any]) -> bool:
        """Whether a file of this job is not on the disk of the scratch."""
        path = Path(self._storage.full_path(self._path(reference)))
        if self._storage.kind != "local":
            return True
        try:
            return await in_thread(lambda _: path.stat().st_dev != self._scratch.stat().st_dev)
        except OSError:
            return True

    async def read(self, reference: Mapping[str, Any], start: int, length: int) -> bytes:
        """A part of a file of this job."""
        path = self._path(reference)
        try:
            return await self._storage.read_part(path, start, length)
        except NotFound as error:
            raise ResourceFault(f"{SCHEME}{path} is not in the workspace as this worker sees it") from error

    async def store(self, path: Path, name: str) -> dict[str, Any]:
        """Put a file of the scratch under this attempt's own path; its reference."""
        try:
            target = f"{self._own}/{logical_path(name)}"
        except PathFault as fault:
            raise InternalFault(f"{name!r} cannot be a name in the workspace: {fault}") from fault
        await self._storage.store(path, target)
        size = await in_thread(lambda _: path.stat().st_size)
        return {"$file": SCHEME + target, "size": size, "sha256": None}

    async def _fetch(self, path: str, name: str) -> Path:
        """Under the first of name, 2-name, 3-name … that is free."""
        target = self._scratch / name
        number = 1
        while target in self._taken or await asyncio.to_thread(target.exists):
            number += 1
            target = self._scratch / f"{number}-{name}"
        self._taken.add(target)
        try:
            await self._storage.fetch(path, target)
        except NotFound as error:
            raise ResourceFault(f"{SCHEME}{path} is not in the workspace as this worker sees it") from error
        return target

    def _path(self, reference: Mapping[str, Any]) -> str:
        url = reference.get("$file")
        if not isinstance(url, str) or not url.startswith(SCHEME):
            raise InputFault(f"not a reference to a file of the workspace: {str(reference)[:200]}")
        match = _ATTEMPT.fullmatch(url.removeprefix(SCHEME))
        if match is None or int(match["job"]) != self._job_id:
            raise InputFault(f"{url[:200]!r} is not a file of job {self._job_id}")
        try:
            path = logical_path(match.group())
        except PathFault as fault:
            raise InputFault(f"{url[:200]!r}: {fault}") from fault
        if path.partition("/")[0] != str(self._job_id):
            raise InputFault(f"{url[:200]!r} is not a file of job {self._job_id}")
        return path


def plain_name(name: str) -> str:
    """A file name that no program stumbles over: ASCII letters and digits (one of them first), `.`, `_`, `-`."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)[-100:]
    return plain if re.match(r"[A-Za-z0-9]", plain) else f"f{plain}"


class Workspaces:
    """The workspaces of all jobs, for the janitor, the dispatcher and reruns."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def job_ids(self) -> Sequence[int]:
        """The jobs that have one."""
        names = await self._storage.folders("")
        return sorted(int(name) for name in names if re.fullmatch(r"[1-9][0-9]*", name))

    async def remove(self, job_id: int) -> None:
        """Remove all that a job has."""
        await self._storage.delete_folder(str(job_id))

    async def keep(self, url: str, document: bytes) -> Mapping[str, Any]:
        """Put a document there under a reference's URL; the reference. StorageError where it cannot be."""
        await self._storage.write(url.removeprefix(SCHEME), document)
        return {"$file": url, "size": len(document), "sha256": hashlib.sha256(document).hexdigest()}

    async def missing(self, urls: Sequence[str]) -> Sequence[str]:
        """Those of these references behind which there is no file."""
        gate = asyncio.Semaphore(_LOOKS_AT_ONCE)

        async def is_there(url: str) -> bool:
            async with gate:
                try:
                    return url.startswith(SCHEME) and await self._storage.stat(url.removeprefix(SCHEME)) is not None
                except StorageError as error:
                    if error.retryable:
                        raise
                    return False  # no path of a workspace

        found = await asyncio.gather(*(is_there(url) for url in urls))
        return [url for url, there in zip(urls, found, strict=True) if not there]
