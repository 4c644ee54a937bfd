"""`switch_channel`: start, stop or delete a channel."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from taskengine.domain.errors import InputFault
from taskengine.handlers.channel_definitions import Definitions
from taskengine.handlers.support import BOOLEAN, STRING, schema, tell
from taskengine.media.virtual import channel as channels
from taskengine.ports import TaskContext


class SwitchChannel:
    """A channel that is started again begins with its first clip; one that is as it is to be stays as it is. It is done when
    all engines show it."""

    name = "switch_channel"
    inputs: Mapping[str, Any] = schema(
        {"content_id": STRING, "state": {"enum": ["start", "stop"]}, "storage": STRING}, {"delete": BOOLEAN}
    )
    outputs: Mapping[str, Any] = schema({"message": STRING})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Outputs: `message`, which is empty. InputFault where there is no such channel."""
        content_id = str(context.inputs["content_id"])
        definitions = Definitions(context, content_id, str(context.inputs["storage"]))
        channel = await definitions.read()
        delete = bool(context.inputs.get("delete"))
        if channel is None or channel.content_id != content_id:
            if delete and context.task.attempt > 1:  # an earlier try has deleted it
                return {"message": ""}
            raise InputFault(f"content_id: there is no channel {content_id!r}")
        start = context.inputs["state"] == "start"
        if delete:
            await definitions.remove()
            tell(context, f"the channel {content_id!r} is deleted")
        elif start and not channel.running:
            await definitions.write(channels.restarted(channel, round(time.time() * 1000)))
        elif not start and channel.running:
            await definitions.write(replace(channel, running=False))
        if delete or start != channel.running:
            await asyncio.sleep(channels.SEEN_AFTER_S)
        return {"message": ""}
