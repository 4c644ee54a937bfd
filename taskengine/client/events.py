"""Server-sent events, read from a stream of lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Happening:
    """One event: `kind` is open, job, task, progress or log; `id` is where to go on after it."""

    kind: str
    data: Any
    id: str | None


async def read_events(lines: AsyncIterable[bytes]) -> AsyncIterator[Happening]:
    """The events of a stream, as its standard has them; one that was not sent whole is left out."""
    kind, data, last_id = "", list[str](), None
    async for raw in lines:
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield Happening(kind or "message", json.loads("\n".join(data)), last_id)
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif name == "id":
            last_id = value
