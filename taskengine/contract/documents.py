"""The JSON Schema of each message, and the AsyncAPI 3 document of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from taskengine.api.models import SubmissionFields
from taskengine.brokers.topology import Topology
from taskengine.contract import models
from taskengine.domain.cloud_events import CONTENT_TYPE
from taskengine.ports import Address

JSON = "application/json"
MODELS: Mapping[str, type[BaseModel]] = {
    "job": SubmissionFields,
    "job-reply": models.SubmissionReply,
    "task": models.Task,
    "reports": models.Reports,
    "control": models.Control,
    "event": models.Event,
}
_CONTENT_TYPES = {"event": CONTENT_TYPE}
_CHANNELS: Mapping[str, tuple[Address, str, str, str]] = {
    # name: address, the variable part of its name, the message, what the engine does with it
    "jobs": (Address.JOBS, "", "job", "receive"),
    "tasks": (Address.TASKS, "{queue}", "task", "send"),
    "reports": (Address.REPORTS, "", "reports", "receive"),
    "control": (Address.CONTROL, "{routingKey}", "control", "send"),
    "events": (Address.EVENTS, "{routingKey}", "event", "send"),
}
_PARAMETERS = {
    "tasks": {"queue": {"description": "The name of a queue, such as transcode."}},
    "control": {"routingKey": {"description": "`worker.<id>` or `all`."}},
    "events": {
        "routingKey": {
            "description": "`job.<client>.<workflow>.<state>` or `task.<client>.<workflow>.<task name>.<event>`."
        }
    },
}
_TOPICS = {Address.CONTROL, Address.EVENTS}


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a message; KeyError for one that there is not."""
    made = MODELS[name].model_json_schema(by_alias=True)
    return {"$schema": GenerateJsonSchema.schema_dialect, "title": name, **made}


def asyncapi(topology: Topology) -> dict[str, Any]:
    """The document for an installation with these names; the engine is the application that it describes."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Task Engine on the bus",
            "version": f"{topology.version}.0.0",
            "description": "Jobs, tasks, reports and events over RabbitMQ (AMQP 0-9-1). Readers ignore unknown fields.",
        },
        "defaultContentType": JSON,
        "channels": {name: _channel(name, topology) for name in _CHANNELS} | {"jobReplies": _replies()},
        "operations": {name: _operation(name) for name in _CHANNELS},
        "components": {"messages": {name: _message(name) for name in MODELS}},
    }


def _channel(name: str, topology: Topology) -> dict[str, Any]:
    address, key, message, _ = _CHANNELS[name]
    topic = address in _TOPICS
    place = topology.exchange(address) if topic else topology.queue(address, key)
    bound: dict[str, Any] = {"is": "routingKey", "exchange": {"name": place, "type": "topic", "durable": True}}
    if not topic:
        bound = {"is": "queue", "queue": {"name": place, "durable": True, "exclusive": False, "autoDelete": False}}
    return {
        "address": key if topic else place,
        "messages": {message: {"$ref": f"#/components/messages/{message}"}},
        "bindings": {"amqp": bound | {"bindingVersion": "0.3.0"}},
        **({"parameters": _PARAMETERS[name]} if name in _PARAMETERS else {}),
    }


def _replies() -> dict[str, Any]:
    return {"address": None, "messages": {"job-reply": {"$ref": "#/components/messages/job-reply"}}}


def _operation(name: str) -> dict[str, Any]:
    _, _, message, action = _CHANNELS[name]
    made: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{name}"},
        "messages": [{"$ref": f"#/channels/{name}/messages/{message}"}],
    }
    if name == "jobs":
        made["reply"] = {
            "address": {"location": "$message.header#/reply_to"},
            "channel": {"$ref": "#/channels/jobReplies"},
            "messages": [{"$ref": "#/channels/jobReplies/messages/job-reply"}],
        }
    return made


def _message(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "contentType": _CONTENT_TYPES.get(name, JSON),
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./schemas/{name}.json"},
        },
    }
