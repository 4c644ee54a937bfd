"""The OpenAPI document, made from the route table, the models and the types of the answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from types import GenericAlias
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

from pydantic import TypeAdapter, create_model

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
    "400": "the request is not valid; `details` has every fault",
    "401": "credentials are missing or wrong",
    "403": "the caller may not do this",
    "404": "there is no such thing for the caller",
    "409": "not possible in the job's state",
    "503": "the store is away; see Retry-After",
}


def describe(routes: Sequence[Route], version: str, workflows: dict[str, Any]) -> dict[str, Any]:
    """The document. The parameters of each workflow are the schemas `parameters.<name>`."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    schemas |= {f"parameters.{name}": schema for name, schema in workflows.items()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Task Engine", "version": version},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "client": {"type": "apiKey", "in": "header", "name": "client"},
                "key": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
        "security": [{"client": [], "key": []}],
    }


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": (route.handler.__doc__ or "").strip().splitlines()[0],
        "responses": _responses(route, schemas),
    }
    parameters = [_parameter(name, "path", "") for name in re.findall(r"{(\w+)}", route.path)]
    parameters += [_parameter(name, "query", text) for name, text in (route.query or {}).items()]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not Body.NONE:
        schema = _schema(route.takes, schemas) if route.takes else {"type": "object"}
        operation["requestBody"] = {
            "required": route.body is Body.REQUIRED,
            "content": {"application/json": {"schema": schema}},
        }
    if route.access is Access.PUBLIC:
        operation["security"] = []
    return operation


def _parameter(name: str, place: str, text: str) -> dict[str, Any]:
    described = {"description": text} if text else {}
    number = place == "path" and name.endswith("id")
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": {"type": "integer", "format": "int64"} if number else {"type": "string"},
        **described,
    }


def _responses(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    given = _schema(route.gives, schemas) if route.gives else {"type": "object"}
    responses: dict[str, Any] = {"200": {"description": "done", "content": {"application/json": {"schema": given}}}}
    if route.access is not Access.PUBLIC:
        error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
        responses |= {status: {"description": text, "content": error} for status, text in _REFUSALS.items()}
    return responses


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
        fields: dict[str, Any] = {name: (_modelled(hint), ...) for name, hint in get_type_hints(kind).items()}
        return create_model(kind.__name__, __doc__=kind.__doc__, **fields)
    if get_origin(kind) is not None and any(map(is_typeddict, get_args(kind))):
        return GenericAlias(list, tuple(map(_modelled, get_args(kind))))  # lists are all that there are
    return kind
