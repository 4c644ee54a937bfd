"""Workflow files: what they mean, and every way to get one wrong, with its line."""

import json

import pytest

from taskengine.domain.errors import WorkflowError
from taskengine.workflows.loader import compile_source
from tests.support.workflows import load_text

GOOD = """
    name: demo
    version: 3
    description: One sentence.
    use: [drm]
    parameters:
      type: object
      required: [list]
      properties:
        list: {type: array, items: {type: integer}}
        poster: {type: boolean, default: true}
    defaults: {queue: media, timeout: 10m, retry: {limit: 3, delay: 5s, backoff: 3, max_delay: 1h}}
    steps:
      publish:
        handler: debug.noop
        needs: [encode, poster]
        with: {all: "${{ steps.encode.outputs }}", state: "${{ steps.poster.state }}"}
      probe:
        handler: debug.noop
        with: {id: "${{ parameters.content_id }}-${{ job.id }}"}
      encode:
        handler: debug.sleep
        queue: transcode
        needs: [probe]
        foreach: "${{ parameters.list }}"
        with: {seconds: "${{ item }}"}
        timeout: 6h
        retry: {limit: 0}
      poster:
        handler: debug.fail
        needs: [probe]
        if: "${{ parameters.poster }}"
        optional: true
        callback: false
    on_failure:
      tidy: {handler: debug.noop, with: {was: "${{ steps.encode.state }}"}}
    callbacks: {tasks: [probe, poster], headers: {X-A: b}}
    job_callback:
      message: "${{ steps.publish.outputs.all }}"
"""


def faults_of(text: str) -> dict[str, str]:
    """The messages of a file's faults by `file:line`."""
    with pytest.raises(WorkflowError) as raised:
        load_text(text)
    found: dict[str, str] = {}
    for fault in raised.value.faults:
        found[fault.path] = f"{found[fault.path]} | {fault.message}" if fault.path in found else fault.message
    return found


def step_fault(step: str) -> str:
    """The fault of a workflow whose second step is `step`; one alone."""
    text = "name: x\nparameters: {properties: {p: {type: string}}}\nsteps:\n"
    text += (
        f"  first: {{handler: debug.sleep, with: {{seconds: 1}}}}\n  lone: {{handler: debug.noop}}\n  second: {step}\n"
    )
    found = faults_of(text)
    assert list(found) == ["test.yaml:6"]
    return found["test.yaml:6"]


def test_a_good_file_becomes_a_workflow() -> None:
    """Defaults reach the steps, groups and common parameters the schema; steps are in order of their needs."""
    workflow = load_text(GOOD).workflow
    assert (workflow.name, workflow.version, workflow.published) == ("demo", "3", False)
    assert list(workflow.steps) == ["probe", "encode", "poster", "publish"]
    assert set(workflow.schema["properties"]) >= {"list", "poster", "drm", "content_id", "custom_data"}
    assert workflow.schema["required"] == ["list"]
    encode, poster = workflow.steps["encode"], workflow.steps["poster"]
    assert (encode.queue, encode.timeout_s, encode.foreach) == ("transcode", 21600, "${{ parameters.list }}")
    assert (encode.retry.limit, encode.retry.delay_s, encode.retry.backoff, encode.retry.max_delay_s) == (0, 5, 3, 3600)
    assert (poster.queue, poster.timeout_s, poster.optional, poster.callback) == ("media", 600, True, False)
    assert (workflow.steps["probe"].callback, encode.callback) == (True, False)
    assert workflow.on_failure["tidy"].on_failure
    assert workflow.step("tidy") is workflow.on_failure["tidy"]


def test_a_stored_source_gives_the_same_workflow() -> None:
    """Jobs run the version that they began with, from what is stored alone."""
    workflow = load_text(GOOD).workflow
    assert compile_source(workflow.source) == workflow
    assert "use" not in json.loads(workflow.source)


def test_the_digest_is_that_of_the_whole_definition() -> None:
    """Any change gives another; none gives the same."""
    assert load_text(GOOD).workflow.digest == load_text(GOOD).workflow.digest
    assert load_text(GOOD.replace("5s", "6s")).workflow.digest != load_text(GOOD).workflow.digest


def test_what_is_no_stored_source_is_a_workflow_error() -> None:
    """Whatever the store gives, the error is ours."""
    for source in ("", "[]", "{}", '{"name": "x", "parameters": {}, "steps": {"a": {}}}'):
        with pytest.raises(WorkflowError):
            compile_source(source)


def test_all_faults_come_at_once_each_with_its_line() -> None:
    """In the order of the lines."""
    found = faults_of("""
        name: Bad Name
        stpes: {}
        defaults: {timeout: soon}
        steps:
          a: {handler: debug.nop, needs: [c]}
          b:
            handler: debug.noop
            with: {x: "${{ 1 + }}"}
          B: {handler: debug.noop}
          c: {handler: debug.noop, needs: [a], timeout: 0}
    """)
    assert list(found) == [f"test.yaml:{line}" for line in (1, 2, 3, 5, 8, 9, 10)]
    assert "must be a lower case letter" in found["test.yaml:1"]
    assert "did you mean 'steps'?" in found["test.yaml:2"]
    assert "'soon' is no duration" in found["test.yaml:3"]
    assert "did you mean 'debug.noop'?" in found["test.yaml:5"]
    assert "does not parse" in found["test.yaml:8"]
    assert "must be a lower case letter" in found["test.yaml:9"]
    assert "must be more than 0" in found["test.yaml:10"]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("{handler: debug.noop, needs: [firsst]}", "which is no step of steps; did you mean 'first'?"),
        ("{handler: debug.noop, needs: [second]}", "need each other: second → second"),
        ("{handler: debug.noop, with: {x: '${{ steps.lone.outputs }}'}}", "without needing it: add it to needs"),
        (
            "{handler: debug.noop, with: {x: '${{ steps.firsst.outputs }}'}}",
            "unknown step 'firsst'; did you mean 'first'?",
        ),
        (
            "{handler: debug.noop, needs: [first], with: {x: '${{ steps.first.outputs.second }}'}}",
            "no output 'second'; did you mean 'seconds'?",
        ),
        ("{handler: debug.noop, needs: [first], with: {x: '${{ steps.first.output }}'}}", "has outputs and state"),
        ("{handler: debug.noop, with: {x: '${{ steps }}'}}", "must be used by name"),
        ("{handler: debug.noop, with: {x: '${{ parameter.p }}'}}", "unknown name 'parameter'"),
        ("{handler: debug.noop, with: {x: '${{ parameters.q }}'}}", "there is no parameter 'q'"),
        ("{handler: debug.noop, with: {x: '${{ job.name }}'}}", "job has no 'name'"),
        ("{handler: debug.noop, with: {x: '${{ item }}'}}", "with foreach alone"),
        ("{handler: debug.noop, foreach: '${{ [1] }}', if: '${{ item == 1 }}'}", "with foreach alone"),
        ("{handler: debug.noop, if: parameters.p}", "if is no expression"),
        ("{handler: debug.noop, if: 3}", "if must be a string or true or false"),
        ("{handler: debug.noop, nedes: [first]}", "unknown key 'nedes'; did you mean 'needs'?"),
        ("{with: {}}", "handler is required"),
        ("{handler: debug.sleep, with: {seconds: 1, second: 2}}", "takes no input 'second'"),
        ("{handler: debug.sleep}", "with lacks 'seconds'"),
        ("{handler: debug.sleep, with: {seconds: soon}}", 'must be a number, not "soon"'),
        ("{handler: debug.fail, with: {kind: interna}}", "did you mean 'internal'?"),
        ("{handler: debug.noop, retry: {delay: 5x}}", "delay: '5x' is no duration"),
        ("{handler: debug.noop, retry: {limits: 5}}", "did you mean 'limit'?"),
        ("{handler: debug.noop, queue: Work}", "queue: the name 'Work' must be"),
    ],
)
def test_a_wrong_step_is_refused(step: str, message: str) -> None:
    """One fault, at the step's line."""
    assert message in step_fault(step)


def test_a_foreach_step_gives_a_list() -> None:
    """Its outputs have no members; the needs of its dependants are its tasks."""
    found = faults_of("""
        name: x
        steps:
          many: {handler: debug.sleep, foreach: [1, 2], with: {seconds: "${{ item }}"}}
          after: {handler: debug.noop, needs: [many], with: {x: "${{ steps.many.outputs.seconds }}"}}
    """)
    assert "is a list, one entry per item" in found["test.yaml:4"]


def test_the_job_callback_and_clean_up_may_look_at_every_step() -> None:
    """But not at steps that do not exist, nor may names be used twice."""
    found = faults_of("""
        name: x
        steps:
          a: {handler: debug.noop}
        on_failure:
          a: {handler: debug.noop}
          tidy: {handler: debug.noop, needs: [a], with: {x: "${{ steps.a.state }}"}}
          late: {handler: debug.noop, with: {x: "${{ steps.tidy.outputs }}"}}
        callbacks: {tasks: [b]}
        job_callback: {message: "${{ steps.b.outputs }}", item: "${{ item }}"}
    """)
    assert "in steps too" in found["test.yaml:5"]
    assert list(found) == ["test.yaml:5", "test.yaml:7", "test.yaml:8", "test.yaml:9"]
    assert "without needing it" in found["test.yaml:7"]
    assert "unknown step 'b'" in found["test.yaml:8"]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{required: [b], properties: {a: {type: string}}}", "the required parameter 'b' is not declared"),
        ("{properties: {a: {type: strings}}}", "no JSON Schema"),
        ("{properties: {a: {format: logical-pth}}}", "did you mean 'logical-path'?"),
        ("{properties: {a: {pattern: '('}}}", "'(' is no regular expression: missing )"),
        ("{patternProperties: {'[': {type: string}}}", "'[' is no regular expression: unterminated"),
        ("{properties: {a: {type: object, patternProperties: {'*': {}}}}}", "'*' is no regular expression: nothing to"),
        ("{properties: {a: {type: integer, default: x}}}", "the default does not fit"),
        ("{properties: {a: {default: '${{ parameters.z }}'}}}", "there is no parameter 'z'"),
        ("{properties: {a: {default: '${{ steps.x.outputs }}'}}}", "a default may use parameters alone"),
        ("{properties: {a: {default: '${{ parameters.a }}'}}}", "the defaults need each other: a → a"),
        ("{properties: {a: {default: '${{ 1 + }}'}}}", "does not parse"),
        ("{properties: {a: {$ref: 'http://h/x'}}}", "only references to #/$defs"),
        ("{properties: {a: {$ref: '#/$defs/x'}}}", "there is no #/$defs/x"),
        ("{properties: {a: {x-alias-of: b}}}", "there is no parameter 'b'"),
        ("{properties: {a: {properties: {end: {}}, x-in-order: [start, end]}}}", "there is no field 'start'"),
        ("{properties: {a: {x-in-order: start}}}", "x-in-order: must be an array of names"),
        ("{type: array}", 'parameters.type must be "object"'),
    ],
)
def test_a_wrong_parameter_schema_is_refused(schema: str, message: str) -> None:
    """Before any job meets it."""
    found = faults_of(f"name: x\nparameters: {schema}\nsteps: {{a: {{handler: debug.noop}}}}\n")
    assert message in found["test.yaml:2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a mapping"),
        ("[1]", "must be a mapping"),
        ("name: x\nname: y", "is here twice"),
        ("name: [", "no YAML"),
        ("name: x\nuse: [no]\nsteps: {a: {handler: debug.noop}}", "unknown parameter group 'no'"),
        ("name: x", "at least one step"),
        ("name: !!python/object x", "not a value"),
        ("name: x\n1: y", "a key must be a string"),
        ("a: &a [*a]", "too large"),
        ("[" * 100, "nested more than"),
        ("x" * 300_000, "over 256 KiB"),
        ("name: x\n---\nname: y", "single document"),
    ],
)
def test_what_is_no_workflow_file_is_refused(text: str, message: str) -> None:
    """Bounded, and never anything but a WorkflowError."""
    assert message in " ".join(faults_of(text).values())


def test_yaml_is_that_of_1_2() -> None:
    """`12:30` and `on` are strings."""
    workflow = load_text("name: x\nsteps: {a: {handler: debug.noop, with: {at: 12:30, on: yes}}}").workflow
    assert workflow.steps["a"].inputs == {"at": "12:30", "on": "yes"}
