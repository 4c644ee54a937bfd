"""A workflow's definition: what a loaded and validated file means. Reading files is the catalog's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed task is tried again. None: what the workflow's defaults, then the settings say."""

    limit: int | None = None  # tries after the first
    delay_s: float | None = None  # before the first further try
    backoff: float = 2.0  # factor from one delay to the next
    max_delay_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a workflow; a job has one task of it, or one per item of `foreach`."""

    name: str
    handler: str
    queue: str
    needs: Sequence[str] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)  # `with`: templates
    condition: Any = None  # `if`: a template; None: always
    foreach: Any = None  # a template or a list; None: one task
    timeout_s: float = 3600.0
    retry: RetryPolicy = RetryPolicy()
    optional: bool = False
    callback: bool = True  # whether its tasks make callbacks (its own `callback` and the workflow's `callbacks.tasks`)
    on_failure: bool = False
    weight: float = 1.0  # its share of the job's progress


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow as jobs run it."""

    name: str
    version: str
    description: str
    digest: str  # of `source`
    source: str  # canonical JSON of the whole definition, parameter groups merged in: enough to compile it again
    schema: Mapping[str, Any]  # of the parameters, common ones merged in
    steps: Mapping[str, Step]  # in topological order; on_failure steps are apart
    on_failure: Mapping[str, Step]
    job_callback: Mapping[str, Any]  # templates of the fields added to the job callback
    callbacks: Mapping[str, Any] = field(default_factory=dict)  # `callbacks` as written (headers, bodies …)
    capture: Mapping[str, Any] | None = None  # templates `clips`, `continuous`: when its jobs may begin
    published: bool = False  # one of the 14: unknown parameters are accepted with a warning

    def step(self, name: str) -> Step:
        """A step of either kind."""
        return self.steps[name] if name in self.steps else self.on_failure[name]
