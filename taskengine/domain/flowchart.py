"""The steps of a workflow and their needs as a picture's text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from taskengine.domain.workflow import Step, Workflow


def flowchart(workflow: Workflow, form: Literal["mermaid", "dot"] = "mermaid") -> str:
    """The text; steps of on_failure hang on `failure`."""
    edges = [(need, step.name) for step in workflow.steps.values() for need in step.needs]
    for step in workflow.on_failure.values():
        edges += [(need, step.name) for need in step.needs] or [("failure", step.name)]
    steps = [*workflow.steps.values(), *workflow.on_failure.values()]
    return _mermaid(steps, edges) if form == "mermaid" else _dot(workflow.name, steps, edges)


def _label(step: Step) -> str:
    marks = [step.handler, *(["foreach"] if step.foreach is not None else [])]
    marks += [*(["if"] if step.condition is not None else []), *(["optional"] if step.optional else [])]
    return f"{step.name} ({', '.join(marks)})"


def _mermaid(steps: Sequence[Step], edges: Sequence[tuple[str, str]]) -> str:
    """Names get a prefix: some (`end`) are words of Mermaid."""
    lines = ["flowchart LR", *(f'  s_{step.name}["{_label(step)}"]' for step in steps)]
    if any(source == "failure" for source, _ in edges):
        lines.append("  s_failure((failure))")
    lines += [f"  s_{source} --> s_{target}" for source, target in edges]
    return "\n".join(lines) + "\n"


def _dot(name: str, steps: Sequence[Step], edges: Sequence[tuple[str, str]]) -> str:
    lines = [f'digraph "{name}" {{', "  rankdir=LR;", *(f'  "{step.name}" [label="{_label(step)}"];' for step in steps)]
    lines += [f'  "{source}" -> "{target}";' for source, target in edges]
    return "\n".join([*lines, "}", ""])
