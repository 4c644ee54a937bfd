"""The examples of the built-in workflows are what a client may send."""

import pytest

from taskengine.handlers import HANDLERS
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.expressions import CelEvaluator

CATALOG = Catalog(CelEvaluator(), HANDLERS)


@pytest.mark.parametrize("name", CATALOG.names(""))
def test_every_workflow_has_examples_that_are_accepted(name: str) -> None:
    """With strict parameters, without a fault and without a warning."""
    loaded = CATALOG.get(name, "")
    assert loaded is not None
    examples = loaded.workflow.schema["examples"]
    assert examples
    for example in examples:
        checked = loaded.parameters.check(example, strict=True)
        assert (list(checked.faults), list(checked.warnings)) == ([], [])
