"""The JSON Schema of the workflow file format: what editors complete by, and the loader's first check."""

from __future__ import annotations

from typing import Any

NAME = r"^[a-z][a-z0-9_-]{0,63}$"
HANDLER = r"^[A-Za-z_][A-Za-z0-9_.:-]{0,127}$"

_NAME = {"type": "string", "pattern": NAME, "description": "Lower case, digits, _ and -; at most 64 characters."}
_DURATION = {"type": ["string", "number"], "description": "90s, 10m, 6h, 2d, or a number of seconds."}
_OF_CALLBACK = "Any value; ${{ callback }} is the published body."
_RETRY = {
    "type": "object",
    "description": "When a failed task is tried again. Faults of the input never are.",
    "additionalProperties": False,
    "properties": {
        "limit": {"type": "integer", "minimum": 0, "maximum": 1000, "description": "Tries after the first."},
        "delay": {**_DURATION, "description": "Before the first further try."},
        "backoff": {"type": "number", "minimum": 1, "description": "Factor from one delay to the next."},
        "max_delay": {**_DURATION, "description": "The longest delay."},
    },
}
_STEP = {
    "type": "object",
    "required": ["handler"],
    "additionalProperties": False,
    "properties": {
        "handler": {"type": "string", "pattern": HANDLER, "description": "Who executes the step's tasks."},
        "description": {"type": "string"},
        "queue": {**_NAME, "description": "The queue whose workers take the step's tasks."},
        "needs": {
            "type": "array", "items": _NAME, "uniqueItems": True,
            "description": "Steps that must have ended well (completed or skipped) before.",
        },
        "if": {"type": ["string", "boolean"], "description": "${{ expression }}: false makes the task skipped."},
        "foreach": {
            "type": ["string", "array"], "description": "A list or ${{ expression }}: one task per item, in parallel.",
        },
        "with": {"type": "object", "description": "The handler's inputs; strings may hold ${{ expressions }}."},
        "timeout": _DURATION,
        "retry": _RETRY,
        "optional": {"type": "boolean", "description": "Its failure does not fail the job."},
        "callback": {"type": "boolean", "description": "false: no task callbacks for it."},
        "weight": {
            "type": "number", "exclusiveMinimum": 0,
            "description": "Its share of the job's progress; 1 where it is not given.",
        },
    },
}  # fmt: skip
_STEPS = {"type": "object", "propertyNames": _NAME, "additionalProperties": {"$ref": "#/$defs/step"}}


def workflow_file_schema() -> dict[str, Any]:
    """The schema, as a document of its own."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Task Engine workflow",
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "$defs": {"step": _STEP},
        "properties": {
            "name": _NAME,
            "version": {"type": ["string", "number"], "description": "Shown beside the digest, which always counts."},
            "description": {"type": "string", "description": "One sentence."},
            "use": {"type": "array", "items": {"type": "string"}, "description": "Groups of config/parameters.yaml."},
            "parameters": {
                "description": "JSON Schema (draft 2020-12) of the job's parameters.",
                "type": "object",
                "properties": {
                    "type": {"const": "object"},
                    "required": {"type": "array", "items": {"type": "string"}},
                    "properties": {"type": "object", "additionalProperties": {"type": ["object", "boolean"]}},
                },
            },
            "defaults": {
                "type": "object",
                "description": "What holds for steps that do not say.",
                "additionalProperties": False,
                "properties": {"queue": _NAME, "timeout": _DURATION, "retry": _RETRY},
            },
            "steps": {**_STEPS, "description": "The steps by name."},
            "on_failure": {**_STEPS, "description": "Steps run when the job fails, before its callback."},
            "callbacks": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "tasks": {
                        "description": "Whose tasks make callbacks: all, none, or a list of steps.",
                        "oneOf": [{"enum": ["all", "none"]}, {"type": "array", "items": _NAME}],
                    },
                    "headers": {
                        "type": "object",
                        "description": "Headers sent with callbacks; values may hold ${{ expressions }}.",
                        "additionalProperties": {"type": "string"},
                    },
                    "task_fields": {
                        "type": "object",
                        "description": "Fields added to the published ones of task callbacks.",
                    },
                    "task_body": {"description": f"Sent in place of a task callback's body. {_OF_CALLBACK}"},
                    "job_body": {"description": f"Sent in place of the job callback's body. {_OF_CALLBACK}"},
                },
            },
            "capture": {
                "type": "object",
                "description": "Its jobs wait until the last of these clips has ended (continuous: less long).",
                "required": ["clips"],
                "additionalProperties": False,
                "properties": {
                    "clips": {
                        "type": "string",
                        "description": "${{ expression }}: a list of objects with start and end.",
                    },
                    "continuous": {"type": ["string", "boolean"], "description": "Whether it may begin before that."},
                },
            },
            "job_callback": {"type": "object", "description": "Fields added to the common ones of the job callback."},
            "published": {"type": "boolean", "description": "true: unknown parameters are warnings, not faults."},
        },
    }
