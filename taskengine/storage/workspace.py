"""The jobs' shared workspace in a directory: what passes between tasks, by job, task, attempt and token."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from taskengine.domain.errors import InputFault, InternalFault, NotFound, ResourceFault, StorageError
from taskengine.domain.paths import PathFault, logical_path
from taskengine.storage.copying import in_thread
from taskengine.storage.local import LocalStorage

SCHEME = "ws://"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,200}")
_ATTEMPT = re.compile(r"(?P<job>[0-9]+)/[0-9]+/[0-9]+-[A-Za-z0-9_-]+/.+", re.DOTALL)


class LocalWorkspace:
    """One attempt's view of its job's workspace; the contract is `ports.Workspace`'s.

    `job_id` is that of the job that had the workspace first: a rerun from what failed goes on in it.
    Files are linked into the scratch and out of it, so they must never be modified in place.
    """

    def __init__(self, root: Path, scratch: Path, *, job_id: int, task_id: int, attempt: int, token: str) -> None:
        if not _TOKEN.fullmatch(token):
            raise InternalFault(f"the token {token!r} cannot be part of a path")
        self._storage = LocalStorage(root, link_shared=True)
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

    async def store(self, path: Path, name: str) -> dict[str, Any]:
        """Put a file of the scratch under this attempt's own path; its reference."""
        try:
            target = f"{self._own}/{logical_path(name)}"
        except PathFault as fault:
            raise InternalFault(f"{name!r} cannot be a name in the workspace: {fault}") from fault
        await self._storage.store(path, target)
        stored = await self._storage.stat(target)
        if stored is None:
            raise StorageError(f"{SCHEME}{target} went away as soon as it was stored")
        return {"$file": SCHEME + target, "size": stored.size, "sha256": None}

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


async def keep_document(root: Path, url: str, document: bytes) -> dict[str, Any]:
    """Put a document into the workspace, under a reference's URL; the reference. StorageError where it cannot be."""
    await LocalStorage(root).write(url.removeprefix(SCHEME), document)
    return {"$file": url, "size": len(document), "sha256": hashlib.sha256(document).hexdigest()}


async def missing_files(root: Path, urls: Sequence[str]) -> Sequence[str]:
    """Those of these references behind which there is no file."""
    return await in_thread(lambda _: [url for url in urls if not _is_file(root, url)])


def _is_file(root: Path, url: str) -> bool:
    path = url.removeprefix(SCHEME)
    return url.startswith(SCHEME) and ".." not in path.split("/") and (root / path).is_file()


async def remove_job(root: Path, job_id: int) -> None:
    """Remove all that a job has in the workspace."""
    await LocalStorage(root).delete_folder(str(job_id))


async def jobs_present(root: Path) -> Sequence[int]:
    """Ids of the jobs that have something in the workspace, for the janitor, which knows what has ended."""
    return await in_thread(lambda _: _jobs_present(root))


def _jobs_present(root: Path) -> Sequence[int]:
    with suppress(FileNotFoundError):
        return sorted(int(entry.name) for entry in root.iterdir() if re.fullmatch(r"[1-9][0-9]*", entry.name))
    return []
