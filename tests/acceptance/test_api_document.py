"""The OpenAPI document holds: what is sent by it, and beside it, is answered as it says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.support.engine import bench, settings_for
from tests.support.receiver import CallbackReceiver
from tests.support.schemathesis import run_schemathesis


async def test_what_is_sent_by_the_document_is_answered_by_it(tmp_path: Path) -> None:
    """No server error, no status, type, header or body that it does not have. `scripts/soak api` does it for long."""
    async with CallbackReceiver() as receiver:
        settings = settings_for(tmp_path, **{"http.metrics": "public"})
        async with bench(settings, receiver, http=True, workers=False) as running:
            printed = await run_schemathesis(
                str(running.engine.url), "demo", "test-key", examples=2, seed=1, folder=tmp_path
            )
    cases = re.search(r"(\d+) generated, (\d+) passed", printed)
    assert cases is not None, printed[-2000:]
    assert int(cases[1]) > 500


async def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Its modules are served, with a policy that lets in no others; the document is a valid one."""
    async with (
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver, http=True, workers=False) as running,
        aiohttp.ClientSession(str(running.engine.url)) as session,
    ):
        async with session.get("/docs") as response:
            page = await response.text()
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "http" not in page
        files = re.findall(r'(?:src|href)="(docs/[^"]+)"', page)
        assert len(files) == 3
        for name in files:
            async with session.get(f"/{name}") as response:
                assert response.status == 200, name
                assert len(await response.read()) > 100
        async with session.get("/docs/%2e%2e%2fsecret") as response:
            assert response.status == 404
        async with session.get("/openapi.json") as response:
            document = await response.json()
    faults = await asyncio.to_thread(lambda: list(OpenAPIV31SpecValidator(document).iter_errors()))
    assert [str(fault)[:300] for fault in faults] == []
