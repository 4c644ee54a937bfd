"""The workflows that can be submitted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from taskengine.api.answers import Answer
from taskengine.api.call import Call
from taskengine.domain.errors import NotFound
from taskengine.domain.flowchart import flowchart
from taskengine.domain.workflow import Step, Workflow


async def list_workflows(call: Call) -> Answer:
    """Every workflow that the client may submit."""
    catalog, client = call.services.catalog, call.caller.client
    loaded = (catalog.get(name, client) for name in catalog.names(client) if _allowed(call, name))
    return Answer([_summary(found.workflow) for found in loaded if found is not None])


async def view(call: Call) -> Answer:
    """One workflow: its definition, the JSON Schema of its parameters, its graph."""
    name = call.name()
    loaded = call.services.catalog.get(name, call.caller.client) if _allowed(call, name) else None
    if loaded is None:
        raise NotFound(f"there is no workflow {name[:100]!r}")
    workflow = loaded.workflow
    return Answer(
        _summary(workflow)
        | {
            "definition": json.loads(workflow.source),
            "parameters": workflow.schema,
            "steps": [_step(step) for step in (*workflow.steps.values(), *workflow.on_failure.values())],
            "graph": flowchart(workflow),
        }
    )


def _allowed(call: Call, name: str) -> bool:
    return call.config.workflows is None or name in call.config.workflows


def _summary(workflow: Workflow) -> dict[str, Any]:
    return {
        "name": workflow.name,
        "version": workflow.version,
        "description": workflow.description,
        "digest": workflow.digest,
        "published": workflow.published,
    }


def _step(step: Step) -> Mapping[str, Any]:
    return {
        "name": step.name,
        "handler": step.handler,
        "queue": step.queue,
        "needs": list(step.needs),
        "timeout_s": step.timeout_s,
        "optional": step.optional,
        "conditional": step.condition is not None,
        "foreach": step.foreach is not None,
        "on_failure": step.on_failure,
    }
