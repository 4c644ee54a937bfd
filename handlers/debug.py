"""Handlers for everyone's tests and experiments: they do nothing, wait, fail, or (where it is allowed) run a shell."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from taskengine.domain.errors import InputFault, InternalFault, ResourceFault, TaskFailed, TimeoutFault
from taskengine.ports import Handler, TaskContext

MAX_STDOUT = 16 * 1024
_FAULTS: Mapping[str, type[TaskFailed]] = {
    "input": InputFault,
    "resource": ResourceFault,
    "timeout": TimeoutFault,
    "internal": InternalFault,
}


class Noop:
    """Returns its `with` as outputs."""

    name = "debug.noop"
    inputs: Mapping[str, Any] = {"type": "object", "additionalProperties": True}
    outputs: Mapping[str, Any] = {"type": "object", "additionalProperties": True}

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """What came in goes out."""
        return dict(context.inputs)


class Sleep:
    """Waits `seconds`, with progress; ends at once when it is cancelled."""

    name = "debug.sleep"
    inputs: Mapping[str, Any] = {
        "type": "object",
        "required": ["seconds"],
        "additionalProperties": False,
        "properties": {"seconds": {"type": "number", "minimum": 0, "maximum": 7 * 86400}},
    }
    outputs: Mapping[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"seconds": {"type": "number"}},
    }

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Wait, a second at a time."""
        seconds = _number(context, "seconds", 0)
        left = seconds
        while left > 0:
            await asyncio.sleep(min(left, 1.0))
            left -= min(left, 1.0)
            context.report_progress((seconds - left) / seconds, eta_s=left)
        return {"seconds": seconds}


class Fail:
    """Fails with `message` and `kind`; with `times`, on that many attempts, and then succeeds."""

    name = "debug.fail"
    inputs: Mapping[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "message": {"type": "string"},
            "kind": {"enum": list(_FAULTS)},
            "times": {"type": ["integer", "null"], "minimum": 0, "description": "null: always"},
        },
    }
    outputs: Mapping[str, Any] = {
        "type": "object",
        "additionalProperties": True,  # it stands for any step: what others would read of that one is no fault
        "properties": {"attempt": {"type": "integer", "description": "The attempt that succeeded."}},
    }

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Fail, or say which attempt did not."""
        kind = str(context.inputs.get("kind", "internal"))
        if kind not in _FAULTS:
            raise InputFault(f"kind must be one of {', '.join(_FAULTS)}, not {kind!r}")
        if context.inputs.get("times") is None or context.task.attempt <= _number(context, "times", 0):
            raise _FAULTS[kind](str(context.inputs.get("message", "debug.fail was asked to fail")))
        return {"attempt": context.task.attempt}


class Shell:
    """Runs `command` by /bin/sh in the scratch directory. It is registered only where the configuration allows it."""

    name = "debug.shell"
    inputs: Mapping[str, Any] = {
        "type": "object",
        "required": ["command"],
        "additionalProperties": False,
        "properties": {"command": {"type": "string", "minLength": 1}},
    }
    outputs: Mapping[str, Any] = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"stdout": {"type": "string", "description": "The first 16 KiB."}, "exit_code": {"const": 0}},
    }

    async def __call__(self, context: TaskContext) -> Mapping[str, Any]:
        """Run it; what it exits with decides."""
        command = context.inputs.get("command")
        if not isinstance(command, str) or not command or "\0" in command:
            raise InputFault("command must be a text that is not empty")
        result = await context.run(["/bin/sh", "-c", command], children=True)
        if result.exit_code != 0:
            raise InternalFault(
                f"the command exited with {result.exit_code}",
                exit_code=result.exit_code,
                stderr_tail=result.stderr_tail,
            )
        return {"stdout": result.stdout[:MAX_STDOUT].decode(errors="replace"), "exit_code": 0}


def debug_handlers(*, shell: bool) -> Sequence[Handler]:
    """The handlers of this module; `shell`: whether the configuration allows debug.shell."""
    return [Noop(), Sleep(), Fail(), *([Shell()] if shell else [])]


def _number(context: TaskContext, name: str, default: float) -> float:
    value = context.inputs.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise InputFault(f"{name} must be a number of at least 0, not {value!r}")
    return value
