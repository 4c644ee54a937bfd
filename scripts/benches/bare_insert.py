"""What `POST /job` is measured beside: an aiohttp handler that parses JSON and does one durable insert. Ends with stdin."""

from __future__ import annotations

import asyncio
import json
import sys
from itertools import count

import asyncpg
from aiohttp import web


async def serve(database: str) -> None:
    """Print the URL, and answer until stdin ends."""
    pool = await asyncpg.create_pool(database, min_size=8, max_size=8)
    await pool.execute("CREATE TABLE IF NOT EXISTS bare (id bigint PRIMARY KEY, body text NOT NULL)")
    ids = count(await pool.fetchval("SELECT coalesce(max(id), 0) + 1 FROM bare"))

    async def submit(request: web.Request) -> web.Response:
        body, job_id = json.loads(await request.read()), next(ids)
        await pool.execute("INSERT INTO bare (id, body) VALUES ($1, $2)", job_id, json.dumps(body))
        return web.json_response({"id": job_id, "result": "accepted"})

    app = web.Application()
    app.router.add_post("/job", submit)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()
    await pool.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
