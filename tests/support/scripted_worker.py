"""A worker in a few lines that keeps the contract, but for the one rule that a test has it break."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from typing import Any

import aiormq
from aiormq.abc import DeliveredMessage

QUEUE = "foreign"
BEAT_S = 0.4


class ScriptedWorker:
    """Knows the handlers `quick` and `slow`. `breaks`: the rule that it breaks, "" for none."""

    def __init__(self, url: str, prefix: str, breaks: str = "") -> None:
        self._url, self._prefix, self._breaks = url, f"{prefix}.v1", breaks
        self._who = {"id": uuid.uuid4().hex, "name": "scripted", "language": "python", "queues": {QUEUE: 4}}
        self._running: dict[str, tuple[dict[str, Any], asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Serve until cancelled."""
        async with aiormq.connect(self._url) as connection:
            self._channel = channel = await connection.channel()
            self._out = await connection.channel()
            ear = await channel.queue_declare(exclusive=True)
            await channel.exchange_declare(f"{self._prefix}.control", exchange_type="topic", durable=True)
            await channel.queue_bind(str(ear.queue), f"{self._prefix}.control", f"worker.{self._who['id']}")
            await channel.basic_consume(str(ear.queue), self._told, no_ack=True)
            await channel.basic_qos(prefetch_count=4)
            self._consuming = await channel.basic_consume(f"{self._prefix}.tasks.{QUEUE}", self._take)
            while True:
                if self._breaks != "silent" or not self._running:
                    await self._say()
                await asyncio.sleep(BEAT_S)

    async def _say(self, *reports: dict[str, Any]) -> None:
        running = [{name: task[name] for name in ("task_id", "attempt", "token")} for task, _ in self._running.values()]
        body: dict[str, Any] = {"v": 1, "worker": self._who, "running": running, "reports": reports}
        if self._breaks == "unreadable":
            body["v"] = "1"
        if self._breaks == "schema" and reports:
            body["running"] = "all of them"
        await self._publish("reports", json.dumps(body).encode())

    async def _publish(self, queue: str, body: bytes, **headers: Any) -> None:
        given = aiormq.spec.Basic.Properties(delivery_mode=2, content_type="application/json", headers=headers)
        await self._out.basic_publish(body, routing_key=f"{self._prefix}.{queue}", properties=given, mandatory=True)

    async def _told(self, message: DeliveredMessage) -> None:
        told = json.loads(message.body)
        if told["action"] == "drain":
            if self._breaks != "drain":
                await self._channel.basic_cancel(str(self._consuming.consumer_tag))
                for _, work in list(self._running.values()):
                    work.cancel("drain")
        elif self._breaks != told["action"] and told["token"] in self._running:
            self._running[told["token"]][1].cancel("cancelled")

    async def _take(self, message: DeliveredMessage) -> None:
        try:
            task = json.loads(message.body)
            if task["v"] != 1 and self._breaks != "version":
                raise ValueError(f"version {task['v']}")
        except (ValueError, KeyError) as error:
            if self._breaks != "garbage":
                await self._publish(
                    "dead", message.body, **{} if self._breaks == "reason" else {"x-reason": str(error)}
                )
            await self._settle(message)
            return
        if message.redelivered and self._breaks != "redelivered":
            await self._say(self._of(task, "released", reason="redelivered"))
            await self._settle(message)
            return
        self._running[task["token"]] = task, asyncio.create_task(self._work(task, message))

    async def _work(self, task: dict[str, Any], message: DeliveredMessage) -> None:
        end: dict[str, Any] | None = self._of(task, "failed", error={"kind": "input", "message": "no such handler"})
        try:
            await self._say(self._of(task, "started"))
            if task["handler"] == "quick" or (self._breaks == "handler" and task["handler"] != "slow"):
                outputs = {"text": "x" * 70_000} if self._breaks == "outputs" else {}
                end = self._of(task, "completed", outputs=outputs)
            elif task["handler"] == "slow":
                limit = 999 if self._breaks == "timeout" else task["timeout_s"]
                end = self._of(task, "failed", error={"kind": "timeout", "message": "out of time"})
                await asyncio.sleep(min(limit, 60))
        except asyncio.CancelledError as why:
            end = self._of(task, "released", reason="drain") if why.args == ("drain",) else None
            if self._breaks == "tells" and end is None:
                end = self._of(task, "failed", error={"kind": "internal", "message": "it was cancelled"})
        del self._running[task["token"]]
        if end is not None:
            await self._say(end)
        await self._settle(message)

    async def _settle(self, message: DeliveredMessage) -> None:
        if self._breaks != "ack":
            await self._channel.basic_ack(message.delivery_tag or 0)

    def _of(self, task: dict[str, Any], event: str, **more: Any) -> dict[str, Any]:
        token = "mine" if self._breaks == "token" else task["token"]
        attempt = 7 if self._breaks == "attempt" else task["attempt"]
        at = round(time.time() * 1000)
        return {"task_id": task["task_id"], "attempt": attempt, "token": token, "event": event, "at": at, **more}
