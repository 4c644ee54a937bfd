"""`judge_protection`: whether the protections that a job asks for can be made, before much work is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskengine.handlers.protecting import INPUTS, judge
from taskengine.handlers.support import schema
from taskengine.ports import TaskContext


class JudgeProtection:
    """Judges a key that the client gives, and whether a worker that packages knows the client's key provider."""

    name = "judge_protection"
    inputs: Mapping[str, Any] = schema({}, INPUTS)
    outputs: Mapping[str, Any] = schema({})

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """No outputs. InputFault where the protections cannot be made."""
        judge(context)
        return {}
