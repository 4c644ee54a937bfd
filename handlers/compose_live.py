"""`compose_live`: a virtual asset once through as a live stream that engines show."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from taskengine.domain.times import format_utc, parse_utc
from taskengine.handlers.channel_definitions import Definitions
from taskengine.handlers.support import ANY, FILE, NUMBER, STRING, load, schema, tell
from taskengine.media.virtual import channel as channels
from taskengine.media.virtual.assembly import Remix
from taskengine.media.virtual.model import Channel
from taskengine.ports import TaskContext


class ComposeLive:
    """Writes the definition of a channel that plays once. A stream of the same content that still plays is followed by the new
    one at its start."""

    name = "compose_live"
    inputs: Mapping[str, Any] = schema(
        {"remix": FILE, "content_id": STRING, "storage": STRING, "public_url": STRING},
        {"starts_at": ANY, "dvr_window": NUMBER},
    )
    outputs: Mapping[str, Any] = schema({
        "message": STRING, "files": {"type": "array"}, "metadata": {"type": "object"}, "manifests": {"type": "object"},
    })  # fmt: skip

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `message`, the URL of the stream's master playlist, `files`, its definition, `metadata.duration`."""
        inputs = context.inputs
        content_id = str(inputs["content_id"])
        remix = await load(context, inputs["remix"], "remix.json", Remix)
        definitions = Definitions(context, content_id, str(inputs["storage"]))
        former = await definitions.read()
        url = definitions.url(str(inputs["public_url"]), content_id)
        now = round(time.time() * 1000)
        at = parse_utc(str(inputs["starts_at"])) if inputs.get("starts_at") else now
        channel = Channel(
            content_id, f"{context.task.job_id}-{context.task.attempt}", remix.renditions, [],
            float(inputs.get("dvr_window") or 0), workflow=context.task.workflow,
        )  # fmt: skip
        if former is None:
            first = channels.begun(channel, remix.runs, at, loops=False)
            await definitions.write(first if inputs.get("starts_at") else channels.on_air(first, now))
        elif not former.version.startswith(f"{context.task.job_id}-"):  # else an earlier try has come so far
            await definitions.write(channels.followed(former, channel, remix.runs, now, at=at, loops=False))
        tell(context, f"{url}: from {format_utc(at)} to {format_utc(at + round(remix.duration * 1000))}")
        return {
            "message": url, "files": [definitions.path], "metadata": {"duration": remix.duration},
            "manifests": {"hls": url, "dash": None},
        }  # fmt: skip
