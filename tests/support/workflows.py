"""Workflows for tests: `load_text` makes one of a few lines of YAML, with the debug handlers known."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent
from typing import Any

from taskengine.handlers.debug import debug_handlers
from taskengine.ports import LoadedWorkflow
from taskengine.workflows import loader
from taskengine.workflows.definitions import HandlerSpec, SharedParameters, Surroundings
from taskengine.workflows.expressions import CelEvaluator
from taskengine.workflows.parameters import compile_schema

COMMON: Mapping[str, Any] = {
    "content_id": {"type": "string", "minLength": 1},
    "rest_endpoints": {"type": "array", "items": {"type": "string", "format": "uri"}, "default": []},
    "custom_data": {"default": None},
    "output_root": {"type": "string", "default": "output_root"},
}

CLIP: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "anyOf": [{"required": ["source"]}, {"required": ["sources"]}],
    "x-in-order": ["start", "end"],
    "properties": {
        "source": {"type": "string", "format": "uri"},
        "sources": {"type": "array", "items": {"type": "string", "format": "uri"}},
        "start": {"type": ["string", "number"], "format": "time-position-or-utc", "default": None},
        "end": {"type": ["string", "number"], "format": "time-position-or-utc", "default": None},
        "exact": {"type": "boolean", "default": False},
        "markers": {
            "type": "object",
            "properties": {"exact": {"type": "boolean", "default": "${{ item.exact }}"}},
        },
    },
}
PROPERTIES: Mapping[str, Any] = {
    "content_id": {"type": "string", "minLength": 1},
    "folder": {"type": "string", "format": "logical-path"},
    "target": {"type": "string", "format": "logical-path", "default": "${{ parameters.folder }}"},
    "copy": {"type": "string", "format": "logical-path", "default": "${{ parameters.target }}/copy"},
    "file": {"type": "string", "format": "file-name", "default": "${{ parameters.content_id }}.mp4"},
    "flag": {"type": "boolean", "default": False},
    "count": {"type": "integer", "minimum": 0, "default": 0},
    "rate": {"type": "number"},
    "either": {"type": ["string", "number"]},
    "storage": {"enum": ["local", "S3"], "default": None},
    "other_storage": {"enum": ["local", "S3"], "default": "${{ parameters.storage }}"},
    "clips": {"type": "array", "minItems": 1, "items": CLIP},
    "files": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"type": "integer"}}}},
    "files_old": {"x-alias-of": "files"},
    "custom_data": {"default": None},
    "secret": {"type": "string", "pattern": "^[0-9]+$", "writeOnly": True},
}


def surroundings(handlers: Mapping[str, HandlerSpec] | None = None) -> Surroundings:
    """What workflow files of tests are judged against: the debug handlers, unless others are given."""
    known = {handler.name: handler for handler in debug_handlers(shell=True)} if handlers is None else handlers
    return Surroundings(CelEvaluator(), known, SharedParameters(COMMON, {"drm": {"drm": {"type": "array"}}}))


def load_text(yaml_text: str, handlers: Mapping[str, HandlerSpec] | None = None) -> LoadedWorkflow:
    """The workflow of an indented YAML text. Raises WorkflowError, its faults at `test.yaml:<line>`."""
    around = surroundings(handlers)
    workflow = loader.load_text(dedent(yaml_text).lstrip("\n"), "test.yaml", around)
    return LoadedWorkflow(workflow, compile_schema(workflow.schema, around.evaluator))


class OneCatalog:
    """`ports.WorkflowCatalog` over the workflows of a test."""

    def __init__(self, *workflows: LoadedWorkflow) -> None:
        self._workflows = {loaded.workflow.name: loaded for loaded in workflows}

    def get(self, name: str, client: str) -> LoadedWorkflow | None:
        """By name."""
        return self._workflows.get(name)

    def compile(self, source: str) -> Any:
        """From stored source."""
        return loader.compile_source(source)

    def names(self, client: str) -> list[str]:
        """All of them."""
        return sorted(self._workflows)
