"""Expressions as workflow authors see them."""

from typing import Any

import pytest

from taskengine.domain.errors import ExpressionError
from taskengine.domain.scope import job_scope
from taskengine.workflows import expressions
from taskengine.workflows.expressions import CelEvaluator
from tests.support.clock import START
from tests.support.stores import a_job

SCOPE: dict[str, Any] = {
    "parameters": {"name": "film", "height": 720, "rate": 2.5, "whole": 6.0, "list": [1, 2], "none": None, "on": True},
    "steps": {"probe": {"outputs": {"path": "a b.mp4", "tracks": [{"kind": "audio"}]}, "state": "completed"}},
    "item": {"z": 1, "a": 2},
}


@pytest.fixture
def evaluator() -> CelEvaluator:
    """One of its own for each test."""
    return CelEvaluator()


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("${{ parameters.height }}", 720),
        ("  ${{ parameters.height }}\n", 720),
        ("${{ parameters.list }}", [1, 2]),
        ("${{ parameters.none }}", None),
        ("${{ item }}", {"z": 1, "a": 2}),
        ("${{ parameters.rate * 2.0 }}", 5.0),
        ("${{ double(parameters.height) / parameters.rate }}", 288.0),
        ("${{ parameters.list.map(x, x * 2) }}", [2, 4]),
        ("${{ steps.probe.outputs.tracks.exists(t, t.kind == 'audio') }}", True),
        ("${{ parameters['name'] + '!' }}", "film!"),
        ("${{ '}}' }}", "}}"),
        ("${{ {'a': {'b': [1, null]}} }}", {"a": {"b": [1, None]}}),
        ("${{ parameters.height > 700 ? 'big' : 'small' }}", "big"),
        ("${{ duration('90s') }}", 90.0),
        ("${{ timestamp('2030-01-01T00:00:00Z') }}", "2030-01-01T00:00:00.000Z"),
    ],
)
def test_an_expression_alone_keeps_the_type_of_its_value(evaluator: CelEvaluator, template: str, value: Any) -> None:
    """A string that is one `${{ }}` gives a typed value, plain Python all through."""
    result = evaluator.evaluate(template, SCOPE)
    assert result == value
    assert type(result) is type(value)


def test_within_longer_text_values_are_inserted_as_text(evaluator: CelEvaluator) -> None:
    """Numbers, booleans, lists and null each have one spelling."""
    template = "${{ parameters.name }}_${{ parameters.whole }}_${{ parameters.on }}_${{ parameters.list }}${{ parameters.none }}."
    assert evaluator.evaluate(template, SCOPE) == "film_6_true_[1,2]."


def test_a_doubled_dollar_is_a_literal(evaluator: CelEvaluator) -> None:
    """`$${{` stays as `${{`, and what follows is text."""
    assert evaluator.evaluate("$${{ parameters.name }} ${{ parameters.name }}", SCOPE) == "${{ parameters.name }} film"


def test_lists_and_mappings_are_resolved_within(evaluator: CelEvaluator) -> None:
    """Templates nest; values without expressions stay as they are."""
    template = {"a": ["${{ parameters.height }}", 3, None], "b": {"c": "x"}}
    assert evaluator.evaluate(template, SCOPE) == {"a": [720, 3, None], "b": {"c": "x"}}


def test_values_are_not_evaluated_again(evaluator: CelEvaluator) -> None:
    """What a client sends is never an expression."""
    assert evaluator.evaluate("${{ parameters.x }}", {"parameters": {"x": "${{ 1/0 }}"}}) == "${{ 1/0 }}"


def test_has_tells_whether_a_member_is_there(evaluator: CelEvaluator) -> None:
    """A missing member is no error under has()."""
    template = "${{ has(steps.probe.outputs.gone) ? steps.probe.outputs.gone : 'none' }}"
    assert evaluator.evaluate(template, SCOPE) == "none"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("${{ parameters.heigth2 }}", "parameters.heigth2 is missing"),
        ("${{ 'x' + steps.probe.outputs.gone }}", "steps.probe.outputs.gone is missing"),
        ("${{ parameters.name.length }}", "parameters.name is a string and has no member 'length'"),
        ("${{ parameters.name.length == 1 }}", "parameters.name is a string and has no member 'length'"),
        ("${{ nothing }}", "there is no 'nothing' here"),
        ("${{ 10.5 + 1 }}", "double()"),
        ("${{ parameters.rate * parameters.height }}", "double()"),
        ("${{ !parameters.name }}", "not defined for the types"),
        ("${{ parameters.list[7] }}", "out of bounds"),
        ("${{ 1 / 0 }}", "division by zero"),
        ("${{ 9223372036854775807 + 1 }}", "overflow"),
        ("${{ 0.0 / 0.0 }}", "finite"),
        ("a ${{ parameters.name", "not closed"),
        ("${{ 1 + }}", "does not parse"),
        ("${{ }}", "empty"),
        ("${{ sizee(parameters.list) }}", "did you mean 'size'?"),
    ],
)
def test_a_fault_says_which_expression_and_why(evaluator: CelEvaluator, template: str, message: str) -> None:
    """Every fault is an ExpressionError in our words."""
    with pytest.raises(ExpressionError) as raised:
        evaluator.evaluate(template, SCOPE)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "template",
    [
        "${{ " + "1 + " * 1000 + "1 }}",
        "${{ [1].map(a, [1].map(b, [1].map(c, c))) }}",
        "${{ [1]" + ".map(a, a)" * 9 + " }}",
        "${{ " + "(" * 200 + "1" + ")" * 200 + " }}",
        "x" * 70_000 + "${{ 1 }}",
    ],
)
def test_what_is_too_large_is_refused_before_it_runs(evaluator: CelEvaluator, template: str) -> None:
    """Length, nesting and macros are bounded."""
    assert evaluator.check(template)
    with pytest.raises(ExpressionError):
        evaluator.evaluate(template, SCOPE)


def test_the_time_of_a_job_is_a_text_that_cel_reads(evaluator: CelEvaluator) -> None:
    """As the API writes times: in names of folders it is readable, and `timestamp()` takes it apart."""
    scope = {"job": job_scope(a_job(1, now=START))}
    assert evaluator.evaluate("at ${{ job.created_at }}", scope) == "at 2027-01-15T08:00:00.000Z"
    assert evaluator.evaluate("${{ timestamp(job.created_at).getFullYear() }}", scope) == 2027
    assert evaluator.evaluate("${{ timestamp(job.created_at) < timestamp('2027-01-15T08:00:01Z') }}", scope) is True


def test_nested_macros_walk_short_lists_alone(evaluator: CelEvaluator) -> None:
    """Work that grows with the square of a list is bounded by the list's length."""
    scope = {"parameters": {"l": list(range(expressions.MAX_NESTED_ITEMS + 1))}}
    with pytest.raises(ExpressionError, match="nested macros"):
        evaluator.evaluate("${{ parameters.l.map(x, parameters.l.map(y, y)) }}", scope)


def test_a_value_nested_too_deep_is_refused(evaluator: CelEvaluator) -> None:
    """The library converts values by recursion: depth ends at ours."""
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(ExpressionError, match="nested"):
        evaluator.evaluate("${{ size(parameters.x) }}", {"parameters": {"x": deep}})


def test_references_are_the_names_outside_of_strings_and_macros(evaluator: CelEvaluator) -> None:
    """Strings, functions, methods and bound names are no references."""
    template = {
        "a": "${{ steps.probe.outputs.tracks.filter(t, t.kind == 'steps.no.outputs').map(u, u.id) }}",
        "b": ['x ${{ size(parameters.name) + int(parameters["rate"]) }} $${{ client.no }}'],
        "c": "${{ has(steps.encode.outputs.x) || r'a\\'.contains(job.id) // client.no\n }}",
    }  # fmt: skip
    assert evaluator.references(template) == {
        ("steps", "probe", "outputs", "tracks"),
        ("steps", "encode", "outputs", "x"),
        ("parameters", "name"),
        ("parameters", "rate"),
        ("job", "id"),
    }


def test_check_finds_every_fault_of_a_template(evaluator: CelEvaluator) -> None:
    """Nothing is evaluated: names need not exist."""
    faults = evaluator.check({"a": "${{ 1 + }}", "b": ["${{ foo(1) }}", "${{ any.name }}"]})
    assert len(faults) == 2
