"""The OpenAPI document, made from the route table, the models and the types of the answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from types import GenericAlias
from typing import Any, NotRequired, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import Field, TypeAdapter, create_model

from taskengine.api.call import Access, Body, Route

_REFERENCE = "#/components/schemas/{model}"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "description": "one sentence that says what is wrong and where"},
        "id": {"type": "integer", "format": "int64", "description": "the job, where there is one"},
        "details": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "message"],
                "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_REFUSALS = {
    400: "the request is not valid; `details` has every fault",
    401: "credentials are missing or wrong",
    403: "the caller may not do this",
    404: "there is no such thing for the caller",
    409: "not possible in the job's state, or with what else there is",
    429: "too many calls of this client; see Retry-After",
    500: "an internal fault, of which the answer tells nothing more",
    503: "the store is away; see Retry-After",
}
_OF_BODIES = {
    408: "the body did not come in time",
    413: "the body is too large",
    415: "the body has an encoding that is not known",
}
_LATER = {
    "Retry-After": {"description": "seconds to wait", "schema": {"type": "integer", "minimum": 1}},
}
_REQUEST_ID = {
    "X-Request-Id": {"description": "as given, or made; it is in every line of the log", "schema": {"type": "string"}},
}
_INTEGERS = {"limit": 1, "after_id": 0, "task_id": 0}  # query parameters that are numbers, and the least of each
_FLAGS = frozenset({"asc", "failed", "persist", "show_all", "all"})
_IDEMPOTENCY = {
    "name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string", "maxLength": 255},
    "description": "the same key with the same body answers with the first job's response, with another body 409",
}  # fmt: skip
_LAST_EVENT = {
    "name": "Last-Event-ID", "in": "header", "required": False,
    "schema": {"type": "string", "pattern": "^[0-9]{1,18}(-[0-9]{1,18})?$"},
    "description": "go on after this event",
}  # fmt: skip
_EXAMPLES: dict[tuple[str, str], Any] = {
    ("PATCH", "/jobs/{id}"): {"queue_state": "paused"},
    ("PUT", "/jobs/{id}"): {"priority": 1},
    ("POST", "/jobs/actions"): {"action": "pause", "filter": {"workflow": "vodstream"}, "dry_run": True},
    ("POST", "/settings"): {"name": "max_jobs", "setting": "4"},
    ("PUT", "/scheduler"): {"schedule": "clean_up", "active": True},
    ("POST", "/schedules"): {
        "name": "nightly", "cron": "30 2 * * *", "time_zone": "Europe/Berlin", "job": {"workflow": "vodstream"},
        "parameters": {"content_id": "demo1", "source_folder": "in/demo1"},
    },
    ("POST", "/clients"): {"name": "newsroom", "role": "submitter", "config": {"weight": 2}},
}  # fmt: skip


def describe(routes: Sequence[Route], version: str, workflows: dict[str, Any]) -> dict[str, Any]:
    """The document. The parameters of each workflow are the schemas `parameters.<name>`."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    paths["/job"]["post"]["requestBody"]["content"]["application/json"]["examples"] = _submissions(workflows)
    schemas |= {f"parameters.{name}": _with_plain_defaults(schema) for name, schema in workflows.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Task Engine", "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "client": {"type": "apiKey", "in": "header", "name": "client"},
                "key": {"type": "apiKey", "in": "header", "name": "api-key"},
                "basic": {"type": "http", "scheme": "basic", "description": "The client and its key."},
            },
        },
        "security": [{"client": [], "key": []}, {"basic": []}],
    }


def _submissions(workflows: dict[str, Any]) -> dict[str, Any]:
    """The examples of every workflow's parameters, as bodies."""
    return {
        f"{name}-{number}": {"value": {"job": {"workflow": name}, "parameters": example}}
        for name, schema in workflows.items()
        for number, example in enumerate(schema.get("examples", ()), start=1)
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": (route.handler.__doc__ or "").strip().splitlines()[0],
        "responses": _responses(route, schemas),
    }
    parameters = [_parameter(name, "path", "") for name in re.findall(r"{(\w+)}", route.path)]
    parameters += [_parameter(name, "query", text) for name, text in (route.query or {}).items()]
    if route.path == "/job":
        parameters.append(_IDEMPOTENCY)
    if route.media == "text/event-stream":
        parameters.append(_LAST_EVENT)
    if parameters:
        operation["parameters"] = parameters
    if route.body is not Body.NONE:
        schema = _schema(route.takes, schemas) if route.takes else {"type": "object"}
        example = _EXAMPLES.get((route.method, route.path))
        operation["requestBody"] = {
            "required": route.body is Body.REQUIRED,
            "content": {"application/json": {"schema": schema} | ({"example": example} if example else {})},
        }
    if route.access is Access.PUBLIC:
        operation["security"] = []
    return operation


def _parameter(name: str, place: str, text: str) -> dict[str, Any]:
    described = {"description": text} if text else {}
    schema: dict[str, Any] = {"type": "string"}
    if place == "path" and name.endswith("id"):
        schema = {"type": "integer", "format": "int64", "minimum": 1}
    elif place == "query" and name in _INTEGERS:
        schema = {"type": "integer", "minimum": _INTEGERS[name]}
    elif place == "query" and name in _FLAGS:
        schema = {"enum": ["0", "1", "true", "false"]}
    return {"name": name, "in": place, "required": place == "path", "schema": schema, **described}


def _responses(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    given: dict[str, Any] = {"type": "string"} if route.media != "application/json" else {"type": "object"}
    given = _schema(route.gives, schemas) if route.gives else given
    done: dict[str, Any] = {"description": "done", "headers": _REQUEST_ID, "content": {route.media: {"schema": given}}}
    if route.paged:
        done["headers"] = _REQUEST_ID | {"Link": {"description": "the next page", "schema": {"type": "string"}}}
    responses: dict[str, Any] = {"200": done}
    if route.media == "text/event-stream":
        responses["204"] = {"description": "nothing more will come", "headers": _REQUEST_ID}
    texts: dict[int, str] = dict(route.refused)
    if route.access is not Access.PUBLIC:
        texts |= _REFUSALS | (_OF_BODIES if route.body is not Body.NONE else {})
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status, text in sorted(texts.items()):
        headers = _REQUEST_ID | (_LATER if status in {429, 503} else {})
        responses[str(status)] = {"description": text, "headers": headers, "content": error}
    if route.path == "/health":
        responses["500"] = {**done, "description": "a component is down: `error` says which"}
    return responses


def _with_plain_defaults(schema: Any) -> Any:
    """A schema without the defaults that are no values of it: null (not given), and expressions over parameters."""
    if isinstance(schema, list):
        return [_with_plain_defaults(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    default = schema.get("default")
    computed = isinstance(default, str) and "${{" in default
    return {
        name: _with_plain_defaults(value)
        for name, value in schema.items()
        if name != "default" or not (value is None or computed)
    }


def _absent() -> None:
    """For a field that may be left out, which is not the same as null."""


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type; what it refers to is put beside it."""
    schema = _described(kind)
    schemas |= schema.get("$defs", {})
    return {name: value for name, value in schema.items() if name != "$defs"}


@cache
def _described(kind: Any) -> dict[str, Any]:
    return TypeAdapter(_modelled(kind)).json_schema(ref_template=_REFERENCE)


def _modelled(kind: Any) -> Any:
    """The type with each TypedDict in it as a model, of which a schema can be made."""
    if is_typeddict(kind):
        whole = get_type_hints(kind, include_extras=True)
        optional = {name for name, hint in whole.items() if get_origin(hint) is NotRequired}
        fields: dict[str, Any] = {
            name: (_modelled(hint), Field(default_factory=_absent) if name in optional else ...)
            for name, hint in get_type_hints(kind).items()
        }
        return create_model(kind.__name__, __doc__=kind.__doc__, **fields)
    match get_origin(kind), get_args(kind):
        case origin, (item,) if origin is Sequence:
            return GenericAlias(list, (_modelled(item),))
        case origin, (key, value) if origin is Mapping:
            return GenericAlias(dict, (key, _modelled(value)))
    return kind
