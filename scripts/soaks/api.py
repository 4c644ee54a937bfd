"""`soak api`: schemathesis over the OpenAPI document, for long."""

from __future__ import annotations

import re
from collections.abc import Mapping

from scripts.soaks.servers import Options, Servers
from tests.support.cluster import HEADERS
from tests.support.schemathesis import run_schemathesis


async def soak_api(servers: Servers, options: Options) -> Mapping[str, object]:
    """Calls made by the OpenAPI document and beside it, `--jobs` of each kind: no server error, no answer it does not have."""
    async with servers.cluster(engines=0, workers=0) as running:
        engine = running.engine()
        await engine.start()
        printed = await run_schemathesis(
            engine.url,
            HEADERS["client"],
            HEADERS["api-key"],
            examples=options.jobs,
            seed=options.seed,
            folder=servers.root,
        )
    found = re.search(r"(\d+) generated", printed)
    return {"calls": int(found[1]) if found else 0}
