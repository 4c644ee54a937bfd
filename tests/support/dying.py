"""The product, killed while it stores a file: `DIE_AT="<when> <pattern>" python -m tests.support.dying worker …`.

`pattern` is looked for in the paths of files of storages. `when`: `within` (a part of the file was sent, and more were to
follow) or `after`. The process ends by SIGKILL. Nothing of it is in the product.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

from taskengine.ports import Told
from taskengine.storage.local import LocalStorage
from taskengine.storage.objects import ObjectStorage


def set_trap(when: str, pattern: str) -> None:
    """Patch what puts files into storages."""

    def die_at(moment: str, path: str) -> None:
        if moment == when and re.search(pattern, path):
            os.kill(os.getpid(), signal.SIGKILL)

    def patch(kind: type[Any]) -> None:
        store, write = kind.store, kind.write

        async def storing(self: Any, source: Path, path: str, told: Told | None = None) -> None:
            size = source.stat().st_size

            def on_its_way(sent: int) -> None:
                if sent < size:
                    die_at("within", path)
                if told:
                    told(sent)

            await store(self, source, path, on_its_way)
            die_at("after", path)

        async def writing(self: Any, path: str, data: bytes) -> None:
            await write(self, path, data)
            die_at("after", path)

        kind.store, kind.write = storing, writing

    for kind in (LocalStorage, ObjectStorage):
        patch(kind)


if __name__ == "__main__":
    if "DIE_AT" in os.environ:
        set_trap(*os.environ["DIE_AT"].split(" ", 1))
    from taskengine.cli import main

    main()
