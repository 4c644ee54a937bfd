from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.support.engine import bench, settings_for
from tests.support.judged import SCHEMAS, VALIDATORS, faults
from tests.support.receiver import CallbackReceiver

RUNNING = {"task_id": 1, "attempt": 1, "token": "t"}
REPORT = {**RUNNING, "at": 1}
WORKER = {"id": "w", "name": "w", "language": "go", "queues": {"encode": 1}}


def said(**report: Any) -> dict[str, Any]:
    """A worker's message with one report."""
    return {"v": 1, "worker": WORKER, "running": [RUNNING], "reports": [{**REPORT, **report}]}


@pytest.mark.parametrize("name", sorted(VALIDATORS))
def test_schemas_are_schemas(name: str) -> None:
    """Of the dialect that they name."""
    Draft202012Validator.check_schema(VALIDATORS[name].schema)


def test_the_document_names_every_schema() -> None:
    """Each reference to a file leads to one, and no file is left out."""
    document = yaml.safe_load((SCHEMAS.parent / "asyncapi.yaml").read_text(encoding="utf-8"))
    named = {one["payload"]["schema"]["$ref"] for one in document["components"]["messages"].values()}
    assert named == {f"./schemas/{path.name}" for path in SCHEMAS.glob("*.json")}


async def test_an_engine_and_its_workers_keep_to_the_schemas(tmp_path: Path) -> None:
    """Tasks, progress, results and faults of whole jobs; `bench` fails where one of the messages breaks its schema."""
    async with CallbackReceiver() as receiver, bench(settings_for(tmp_path), receiver) as running:
        for workflow in ("chain", "fails"):
            await running.ended(await running.submit(workflow))
        assert running.judge.judged["task"] >= 5
        assert running.judge.judged["reports"] >= 2


@pytest.mark.parametrize(
    "message",
    [
        said(event="started", ours="is ignored"),
        said(event="completed", outputs={"x": 1}),
        said(event="failed", error={"kind": "input", "message": "no"}),
        said(event="released", reason="redelivered"),
    ],
)
def test_reports_of_the_contract_are_accepted(message: dict[str, Any]) -> None:
    """Also with fields that the contract does not know."""
    assert not faults("reports", message)


@pytest.mark.parametrize(
    "message",
    [
        {**said(event="started"), "v": 2},
        {"v": 1, "running": [], "reports": []},
        said(event="finished"),
        said(event="completed", outputs=[1]),
        said(event="failed", error={"kind": "bad luck", "message": "no"}),
        said(event="released", reason="tired"),
        said(event="progress", progress=2),
    ],
)
def test_reports_that_break_the_contract_are_refused(message: dict[str, Any]) -> None:
    """By the schema, as the engine would."""
    assert faults("reports", message)
