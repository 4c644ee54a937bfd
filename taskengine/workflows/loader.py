"""From a workflow file to a Workflow: parsed, judged (all faults at once, each with file and line), merged, built."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from graphlib import CycleError
from typing import Any

from jsonschema import Draft202012Validator

from taskengine import documents
from taskengine.domain import graph
from taskengine.domain.durations import parse_duration
from taskengine.domain.errors import Fault, WorkflowError
from taskengine.domain.words import nearest
from taskengine.domain.workflow import RetryPolicy, Step, Workflow
from taskengine.workflows.checks import check
from taskengine.workflows.definitions import SharedParameters, Surroundings, as_mapping, merged_schema
from taskengine.workflows.file_schema import workflow_file_schema
from taskengine.workflows.left_out import completed
from taskengine.workflows.messages import Path, described

DEFAULT_QUEUE = "work"
DEFAULT_TIMEOUT_S = 3600.0
_FILE = Draft202012Validator(workflow_file_schema())


def load_text(text: str, file: str, around: Surroundings) -> Workflow:
    """The workflow that a file's text defines. Raises WorkflowError with every fault."""
    document = documents.parse(text, file)
    faults = list(document.faults)
    definition = completed(document.value, around)
    if not faults:
        faults = [document.fault(path, message) for path, message in _judge(definition, around)]
    if faults:
        raise WorkflowError(f"{file}: {len(faults)} fault{'s' if len(faults) > 1 else ''}", _in_order(faults))
    source = json.dumps(_source(definition, around.shared), ensure_ascii=False, separators=(",", ":"))
    return compile_source(source)


def compile_source(source: str) -> Workflow:
    """Rebuild a workflow from its `source` alone; it was judged when its file was loaded. Raises WorkflowError."""
    try:
        return _build(json.loads(source), source)
    except (ValueError, KeyError, TypeError, AttributeError, CycleError) as error:
        raise WorkflowError(f"a stored workflow does not compile: {error!r}") from error


def load_shared(text: str, file: str) -> SharedParameters:
    """`parameters.yaml`. Raises WorkflowError."""
    document = documents.parse(text, file)
    faults = list(document.faults)
    value = as_mapping(document.value)
    faults += [
        document.fault((key,), f"unknown key {key!r}: there are common and groups")
        for key in value.keys() - {"common", "groups"}
    ]
    groups = {name: as_mapping(group) for name, group in as_mapping(value.get("groups")).items()}
    if faults:
        raise WorkflowError(f"{file}: {len(faults)} faults", _in_order(faults))
    return SharedParameters(as_mapping(value.get("common")), groups)


# ---- judging


def _judge(definition: Any, around: Surroundings) -> list[tuple[Path, str]]:
    found = [fault for error in _FILE.iter_errors(definition) for fault in _shape(error)]
    if isinstance(definition, Mapping):
        found += list(check(definition, around))
    return list(dict.fromkeys(found))


def _shape(error: Any) -> list[tuple[Path, str]]:
    """A fault of the file's shape, in words; unknown keys at their own line."""
    path = tuple(error.absolute_path)
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = [key for key in error.instance if key not in known]
        return [((*path, key), f"unknown key {key!r}{nearest(key, known)}") for key in unknown]
    if "propertyNames" in error.absolute_schema_path:
        return [((*path, error.instance), f"the name {error.instance!r} {_NAMES}")]
    if error.validator == "pattern" and error.absolute_schema_path[-2] != "handler":
        return [(path, f"{path[-1]}: the name {error.instance!r} {_NAMES}")]
    if not path and error.validator == "type":
        return [((), "the file must be a mapping with name and steps")]
    return list(described(error))


_NAMES = "must be a lower case letter and up to 63 of a-z, 0-9, _ and -"


def _in_order(faults: list[Fault]) -> list[Fault]:
    return sorted(dict.fromkeys(faults), key=lambda fault: int(fault.path.rpartition(":")[2]))


# ---- building


def _source(definition: Mapping[str, Any], shared: SharedParameters) -> dict[str, Any]:
    """The whole definition, groups and common parameters merged in."""
    kept = {key: value for key, value in definition.items() if key not in {"use", "parameters"}}
    return {**kept, "parameters": merged_schema(definition, shared)}


def _build(definition: Mapping[str, Any], source: str) -> Workflow:
    digest = hashlib.sha256(source.encode()).hexdigest()
    callbacks = as_mapping(definition.get("callbacks"))
    defaults = as_mapping(definition.get("defaults"))
    return Workflow(
        name=definition["name"],
        version=str(definition.get("version", digest[:12])),
        description=str(definition.get("description", "")),
        digest=digest,
        source=source,
        schema=definition["parameters"],
        steps=_steps(as_mapping(definition.get("steps")), defaults, callbacks, on_failure=False),
        on_failure=_steps(as_mapping(definition.get("on_failure")), defaults, callbacks, on_failure=True),
        job_callback=as_mapping(definition.get("job_callback")),
        callbacks={"tasks": "all", **callbacks},
        capture=definition.get("capture"),
        published=bool(definition.get("published", False)),
    )


def _steps(
    steps: Mapping[str, Any], defaults: Mapping[str, Any], callbacks: Mapping[str, Any], *, on_failure: bool
) -> dict[str, Step]:
    order = graph.order({name: step.get("needs", ()) for name, step in steps.items()})
    return {name: _step(name, steps[name], defaults, callbacks, on_failure=on_failure) for name in order}


def _step(
    name: str, step: Mapping[str, Any], defaults: Mapping[str, Any], callbacks: Mapping[str, Any], *, on_failure: bool
) -> Step:
    reporting = callbacks.get("tasks", "all")
    reports = reporting == "all" or (isinstance(reporting, list) and name in reporting)
    return Step(
        name=name,
        handler=step["handler"],
        queue=step.get("queue", defaults.get("queue", DEFAULT_QUEUE)),
        needs=tuple(step.get("needs", ())),
        inputs=step.get("with") or {},
        condition=step.get("if"),
        foreach=step.get("foreach"),
        timeout_s=parse_duration(step.get("timeout", defaults.get("timeout", DEFAULT_TIMEOUT_S))),
        retry=_retry({**as_mapping(defaults.get("retry")), **as_mapping(step.get("retry"))}),
        optional=step.get("optional", False),
        callback=step.get("callback", True) and reports,
        on_failure=on_failure,
        weight=float(step.get("weight", 1)),
    )


def _retry(retry: Mapping[str, Any]) -> RetryPolicy:
    plain = RetryPolicy()
    return RetryPolicy(
        limit=retry.get("limit"),
        delay_s=_optional_duration(retry.get("delay")),
        backoff=float(retry.get("backoff", plain.backoff)),
        max_delay_s=parse_duration(retry.get("max_delay", plain.max_delay_s)),
    )


def _optional_duration(value: Any) -> float | None:
    return None if value is None else parse_duration(value)
