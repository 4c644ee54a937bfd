"""What passes through a broker."""

from __future__ import annotations

from typing import Any

from taskengine.domain.messages import TaskMessage
from taskengine.ports import Address


class Wire:
    """The bodies that a broker is given from now on."""

    def __init__(self, broker: Any) -> None:
        self.bodies: list[bytes] = []
        self.tasks: list[TaskMessage] = []
        publish = broker.publish

        async def noted(messages: Any) -> None:
            for one in messages:
                self.bodies.append(one.message.body)
                if one.address is Address.TASKS:
                    self.tasks.append(TaskMessage.from_json(one.message.body))
            await publish(messages)

        broker.publish = noted
