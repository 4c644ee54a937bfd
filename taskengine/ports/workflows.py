"""Workflows as they are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from taskengine.domain.workflow import Workflow
from taskengine.ports.base import ParameterSchema


@dataclass(frozen=True, slots=True)
class LoadedWorkflow:
    """A workflow with its compiled parameter schema."""

    workflow: Workflow
    parameters: ParameterSchema


class WorkflowCatalog(Protocol):
    """The workflows that can be submitted now; a faulty file never takes away its last good version."""

    def get(self, name: str, client: str) -> LoadedWorkflow | None:
        """The workflow as this client gets it (its own override first); None where there is none."""
        ...

    def compile(self, source: str) -> Workflow:
        """Rebuild a workflow from its stored `source` alone (cached by digest). Raises WorkflowError."""
        ...

    def names(self, client: str) -> Sequence[str]:
        """Every workflow that this client can name, sorted."""
        ...
