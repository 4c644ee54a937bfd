"""Whatever is written as a template or sent as parameters, nothing but the declared errors comes of it."""

import contextlib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from taskengine.domain.durations import DurationFault, format_duration, parse_duration
from taskengine.domain.errors import ExpressionError, WorkflowError
from taskengine.workflows.expressions import CelEvaluator
from taskengine.workflows.loader import load_text
from taskengine.workflows.normalise import coerce
from taskengine.workflows.parameters import compile_schema
from tests.support.workflows import PROPERTIES, surroundings

EVALUATOR = CelEvaluator()
SCHEMA = compile_schema({"type": "object", "properties": PROPERTIES, "required": ["folder"]}, EVALUATOR)
AROUND = surroundings()

FRAGMENTS = st.sampled_from([
    "${{", "}}", "$", "{", "}", " ", "parameters", ".", "a", "steps", "(", ")", "[", "]", "'", '"', "1", "2.5", "+", "/",
    "%", "==", "&&", "?", ":", ",", "map", "filter", "has", "size", "x", "null", "true", "in", "!", "-", "\\", "//", "\n",
    "r'", "'''", "b'", "duration", "string", "9223372036854775807", "é", "\0", "\ud800",
])  # fmt: skip
TEMPLATES = st.one_of(st.text(), st.lists(FRAGMENTS, max_size=30).map("".join))
EXPRESSIONS = TEMPLATES.map(lambda text: "${{" + text + "}}")
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | TEMPLATES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)
NAMES = st.sampled_from([*PROPERTIES, "source", "sources", "start", "exact", "markers", "n"]) | st.text(max_size=6)
PARAMETERS: st.SearchStrategy[Any] = st.recursive(
    JSON | st.sampled_from(["true", "1", "1.5", "http://h/x", "a/b", "1:30", ["clear"]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=6),
    max_leaves=12,
)
TYPES = st.frozensets(st.sampled_from(["string", "boolean", "integer", "number", "array", "object", "null"]))


@given(st.one_of(TEMPLATES, EXPRESSIONS, st.lists(EXPRESSIONS)), st.dictionaries(st.sampled_from(["a", "x"]), JSON))
def test_a_template_gives_a_value_or_an_expression_error(template: Any, parameters: dict[str, Any]) -> None:
    """And `check` and `references` raise nothing at all; what `check` faults does not evaluate."""
    scope = {"parameters": parameters, "steps": {"a": {"outputs": {}}}}
    faults = EVALUATOR.check(template)
    EVALUATOR.references(template)
    try:
        EVALUATOR.evaluate(template, scope)
    except ExpressionError:
        return
    assert not faults


@given(JSON)
def test_a_value_passes_through_an_expression_unchanged(value: Any) -> None:
    """A name alone gives what it names."""
    assert EVALUATOR.evaluate("${{ parameters.x }}", {"parameters": {"x": value}}) == value


@given(parameters=st.dictionaries(NAMES, PARAMETERS, max_size=8), strict=st.booleans())
def test_parameters_are_judged_without_raising(parameters: dict[str, Any], *, strict: bool) -> None:
    """Arbitrary JSON gives arguments, faults and warnings; every fault is below /parameters."""
    checked = SCHEMA.check(parameters, strict=strict)
    assert all(fault.path.startswith("/parameters") and fault.message for fault in checked.faults)


@given(st.dictionaries(NAMES, PARAMETERS, max_size=8))
def test_good_arguments_are_good_parameters(parameters: dict[str, Any]) -> None:
    """Judging what was judged changes nothing."""
    checked = SCHEMA.check(parameters, strict=False)
    if not checked.faults:
        again = SCHEMA.check(checked.arguments, strict=True)
        assert not again.faults
        assert again.arguments == checked.arguments


@given(JSON, TYPES)
def test_coercion_is_idempotent_and_leaves_strings_where_they_are_allowed(value: Any, types: frozenset[str]) -> None:
    """Once is enough."""
    once = coerce(value, types)
    assert coerce(once, types) == once
    assert type(coerce(once, types)) is type(once)
    if isinstance(value, str) and "string" in types:
        assert once is value


@given(st.text() | st.lists(st.sampled_from(list("[]{}:,&*a\n -'\"#!|>%@"))).map("".join))
def test_any_text_is_a_workflow_or_a_workflow_error(text: str) -> None:
    """Nothing else gets out of the loader."""
    with contextlib.suppress(WorkflowError):
        load_text(text, "f.yaml", AROUND)


@given(st.text() | st.floats() | st.integers() | st.none() | st.booleans())
def test_a_duration_parses_or_says_why(value: Any) -> None:
    """DurationFault and no other."""
    with contextlib.suppress(DurationFault):
        assert parse_duration(value) >= 0


@given(st.integers(min_value=0, max_value=10**8))
def test_a_formatted_duration_parses_to_itself(seconds: int) -> None:
    """Whole seconds up to some years."""
    assert parse_duration(format_duration(seconds)) == seconds
