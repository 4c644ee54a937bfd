from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskengine.cli import watching
from tests.support.cli import Cli, FakeEngine


def job(job_id: int = 7, **fields: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    plain = {"id": job_id, "workflow": "vodstream", "queue_state": 1, "failed": False, "priority": 5, "progress": 0.25}
    return {**plain, "content_id": "one", "created_at": "2026-01-02T03:04:05.678Z", "error": None, **fields}


def task(task_id: int, name: str, state: str, **fields: Any) -> dict[str, Any]:
    """A task as the API shows it."""
    return {"id": task_id, "name": name, "state": state, "progress": 0.0, "attempts": [], "error": None, **fields}


def test_submit_sends_the_envelope_and_the_parameters(cli: Cli, engine: FakeEngine, tmp_path: Path) -> None:
    """Flags become the job's fields, -p and --params its parameters, and -p wins."""
    engine.says("POST", "/job", {"id": 7, "job_id": 7, "result": "accepted", "tasks": []})
    file = tmp_path / "parameters.yaml"
    file.write_text("content_id: from-file\nsource_folder: in/one\nstart: 12:30\n")

    outcome = cli(
        "submit", "vodstream", "--params", str(file), "-p", "content_id=one", "-p", "encode_source=true",
        "-p", "mp4_filename=a=b.mp4", "--priority", "2", "--after", "3", "--after", "4", "--tag", "x",
        "--idempotency-key", "k1", "--json",
    )  # fmt: skip

    assert outcome.code == 0, outcome.err
    assert outcome.json["id"] == 7
    [request] = engine.requests
    assert request.body == {
        "job": {"workflow": "vodstream", "priority": 2, "after": [3, 4], "tags": ["x"]},
        "parameters": {
            "content_id": "one", "source_folder": "in/one", "start": "12:30", "encode_source": True,
            "mp4_filename": "a=b.mp4",
        },
    }  # fmt: skip
    assert request.headers["client"] == "demo"
    assert request.headers["api-key"] == "key-of-the-test"
    assert request.headers["idempotency-key"] == "k1"


def test_submit_shows_warnings_beside_the_result(cli: Cli, engine: FakeEngine) -> None:
    """What the engine warns of is on stderr, so that stdout stays the answer."""
    answer = {"id": 7, "job_id": 7, "result": "accepted", "tasks": [], "warnings": ["colour is not known"]}
    engine.says("POST", "/job", answer)

    outcome = cli("submit", "vodstream", "-p", "colour=1")

    assert "colour is not known" in outcome.err
    assert outcome.out.startswith("job 7 accepted")


def test_a_refused_submission_names_every_fault_and_is_a_usage_error(cli: Cli, engine: FakeEngine) -> None:
    """400 with details becomes one line each and exit code 2."""
    details = [{"path": "/parameters/a", "message": "a is wrong"}, {"path": "/parameters/b", "message": "b too"}]
    engine.says("POST", "/job", {"error": "a is wrong (and 1 more)", "details": details}, status=400)

    outcome = cli("submit", "vodstream")

    assert outcome.code == 2
    assert "/parameters/a: a is wrong\n" in outcome.err
    assert "/parameters/b: b too\n" in outcome.err


@pytest.mark.parametrize(("status", "code"), [(401, 1), (403, 1), (404, 4), (409, 1), (500, 1), (503, 3)])
def test_each_refusal_has_its_exit_code(cli: Cli, engine: FakeEngine, status: int, code: int) -> None:
    """The engine's own sentence is shown."""
    engine.says("GET", "/jobs/7", {"error": "there is a reason"}, status=status)

    outcome = cli("jobs", "show", "7")

    assert outcome.code == code
    assert outcome.err == "Error: there is a reason\n"


def test_an_engine_that_is_not_there_cannot_be_reached(cli: Cli) -> None:
    """Exit code 3, and the URL that was tried."""
    outcome = cli("jobs", "list", "--url", "http://127.0.0.1:9", "--api-key", "k", "--client", "demo")

    assert outcome.code == 3
    assert "http://127.0.0.1:9" in outcome.err


def test_something_else_that_answers_is_no_engine(cli: Cli, engine: FakeEngine) -> None:
    """A page of some web server is told as what it is."""
    engine.says("GET", "/jobs", "<html>nginx</html>", status=502)

    outcome = cli("jobs", "list")

    assert outcome.code == 1
    assert "not as a Task Engine does" in outcome.err


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"a: : [", "p:1: no YAML: "),
        (b"a: [1\nb: 2", "p:2: no YAML: "),
        (b"a: 1\nb: 2\na: 3", "p:3: "),
        (b'{"a": 1, "b": [{"c": 1, "c": 2}]}', "p has the key 'c' twice in one object"),
        (b"\xff", "p is not UTF-8"),
        (b"[1]", "p does not hold an object of named parameters"),
        (None, "p cannot be read: No such file or directory"),
    ],
)
def test_a_file_of_parameters_that_is_none_is_told_in_one_line(cli: Cli, written: bytes | None, told: str) -> None:
    """With the place in it."""
    if written is not None:
        Path("p").write_bytes(written)
    outcome = cli("submit", "w", "--params", "p")
    assert outcome.code == 2
    assert f"Error: Invalid value for --params: {told}" in outcome.err.splitlines()[-1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs", "show", "x"), ("jobs", "list", "--limit", "0"), ("jobs", "list", "--state", "gone"),
        ("submit", "w", "-p", "novalue"), ("submit", "w", "-p", "a=1", "-p", "a=2"), ("submit", "w", "--params", "none"),
        ("jobs", "list", "--url", "ftp://x"), ("jobs", "list", "--url", "http://[::1"), ("jobs", "list", "--client", "a\rb"),
        ("jobs", "list", "--api-key", "a\nb"), ("submit", "w", "--idempotency-key", "a\x7f"), ("nothing",), ("submit",), ("jobs", "pause"),
    ],
)  # fmt: skip
def test_wrong_usage_is_2_and_asks_no_engine(cli: Cli, engine: FakeEngine, arguments: tuple[str, ...]) -> None:
    """The command line is judged before anything is asked."""
    outcome = cli(*arguments)

    assert outcome.code == 2
    assert "Error: " in outcome.err
    assert engine.requests == []


def test_the_key_of_a_local_engine_is_read_from_its_data_directory(
    cli: Cli, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing but --data-dir is needed for an engine on this machine."""
    monkeypatch.delenv("TASKENGINE_API_KEY")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "api-key").write_text("from-the-file\n")
    engine.says("GET", "/jobs", [])

    outcome = cli("jobs", "list", "--data-dir", str(tmp_path / "d"))

    assert outcome.code == 0, outcome.err
    assert outcome.out == "no jobs\n"
    assert engine.requests[0].headers["api-key"] == "from-the-file"


def test_a_key_file_that_holds_no_text_is_named(cli: Cli, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong file is a fault of the call, not of the command."""
    monkeypatch.delenv("TASKENGINE_API_KEY")
    Path("d").mkdir()
    Path("d", "api-key").write_bytes(b"\xff\xfe")

    outcome = cli("jobs", "list", "--data-dir", "d")

    assert (outcome.code, engine.requests) == (2, [])
    assert "api-key holds no API key: it is not UTF-8" in outcome.err


def test_a_missing_key_is_explained(cli: Cli, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no key was found the refusal says where it was looked for."""
    monkeypatch.delenv("TASKENGINE_API_KEY")
    engine.says("GET", "/jobs", {"error": "missing or wrong"}, status=401)

    outcome = cli("jobs", "list")

    assert outcome.code == 1
    assert "data/api-key" in outcome.err


def test_the_key_file_is_never_sent_to_another_machine(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The key on this disk belongs to the engine on this machine."""
    from taskengine.cli.connection import resolve

    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "api-key").write_text("secret")
    monkeypatch.delenv("TASKENGINE_API_KEY", raising=False)

    assert resolve("http://engine.example", None, None, None).api_key is None
    assert resolve("http://localhost:1", None, None, None).api_key == "secret"
    assert resolve("http://[::1]:1", None, None, None).api_key == "secret"


def test_the_url_follows_the_configuration_of_serve(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same environment makes `serve` and the client commands meet."""
    from taskengine.cli.connection import resolve

    monkeypatch.setenv("TASKENGINE_HOST", "0.0.0.0")
    monkeypatch.setenv("TASKENGINE_PORT", "9001")
    monkeypatch.setenv("TASKENGINE_BOOTSTRAP_CLIENT", "boss")

    found = resolve(None, None, "k", None)

    assert (found.url, found.client) == ("http://127.0.0.1:9001", "boss")


def test_jobs_list_asks_for_what_was_wanted(cli: Cli, engine: FakeEngine) -> None:
    """Options become the published query; the rows show state and progress."""
    engine.says("GET", "/jobs", [job(queue_state=2, failed=True, error="encode: no"), job(6, queue_state="paused")])

    outcome = cli("jobs", "list", "--state", "failed", "--of", "acme", "--limit", "5", "--asc", "--search", "in/")

    assert engine.requests[0].query == {"state": "7", "client": "acme", "limit": "5", "asc": "1", "search": "in/"}
    head, first, second = outcome.out.splitlines()
    assert head.split() == ["id", "workflow", "content", "id", "state", "priority", "progress", "created", "error"]
    assert first.split()[3] == "failed"
    assert "encode: no" in first
    assert second.split()[3] == "paused"


def test_jobs_show_has_the_job_and_its_tasks(cli: Cli, engine: FakeEngine) -> None:
    """With --json one document with both."""
    engine.says("GET", "/jobs/7", job())
    engine.says("GET", "/jobs/7/tasks", [task(1, "ingest", "completed", attempts=[{"worker": "w1"}])])

    assert cli("jobs", "show", "7", "--json").json["tasks"][0]["name"] == "ingest"
    text = cli("jobs", "show", "7").out
    assert "queue_state" in text
    assert "started" in text
    assert "w1" in text


def test_jobs_why_says_what_a_job_waits_for(cli: Cli, engine: FakeEngine) -> None:
    """A reason a line; nothing to wait for is said too."""
    reasons = [{"kind": "time", "message": "the job runs at noon"}, {"kind": "slot", "message": "no slot is free"}]
    engine.says("GET", "/jobs/7/why", {"id": 7, "queue_state": 5, "waiting": True, "reasons": reasons})
    engine.says("GET", "/jobs/8/why", {"id": 8, "queue_state": 2, "waiting": False, "reasons": []})

    assert cli("jobs", "why", "7").out.splitlines() == ["the job runs at noon", "no slot is free"]
    assert cli("jobs", "why", "8").out == "job 8 waits for nothing: it is completed\n"
    assert cli("jobs", "why", "7", "--json").json["reasons"] == reasons


def test_a_broken_job_is_shown_as_broken(cli: Cli, engine: FakeEngine) -> None:
    """Whoever was told that it failed."""
    engine.says("GET", "/jobs", [job(7, queue_state=4, failed=True), job(8, queue_state=2, failed=True)])

    assert [line.split()[3] for line in cli("jobs", "list").out.splitlines()[1:]] == ["broken", "failed"]


def test_jobs_logs_reads_every_page(cli: Cli, engine: FakeEngine) -> None:
    """Each page leads to the next."""
    entry = {"task_id": 0, "severity_description": "info", "progname": "api", "created_at": "t"}
    entries = [{**entry, "id": number, "message": f"entry {number}"} for number in (1, 2, 3)]
    engine.pages("/logs/7", entries[:2], entries[2:])

    outcome = cli("jobs", "logs", "7", "--severity", "info")

    assert [line.rpartition(": ")[2] for line in outcome.out.splitlines()] == ["entry 1", "entry 2", "entry 3"]
    assert [request.query.get("after_id") for request in engine.requests] == [None, "2"]
    assert {request.query["severity"] for request in engine.requests} == {"1"}


def test_what_a_client_logged_cannot_steer_the_terminal(cli: Cli, engine: FakeEngine) -> None:
    """Control characters are shown as such."""
    entry = {"id": 1, "task_id": 0, "severity_description": "info", "progname": "api", "created_at": "t"}
    engine.says("GET", "/logs/7", [{**entry, "message": "a\x1b[2Jb"}])

    assert "\x1b" not in cli("jobs", "logs", "7").out


@pytest.mark.parametrize(("command", "state"), [("pause", "paused"), ("resume", "queued"), ("break", "broken")])
def test_jobs_are_changed_by_their_state(cli: Cli, engine: FakeEngine, command: str, state: str) -> None:
    """The published verbs of PATCH."""
    engine.says("PATCH", "/jobs/7", {"id": 7, "result": "Performed updates: queue_state"})

    outcome = cli("jobs", command, "7")

    assert outcome.code == 0, outcome.err
    assert engine.bodies("PATCH", "/jobs/7") == [{"queue_state": state}]
    assert outcome.out == "job 7: Performed updates: queue_state\n"


def test_of_several_jobs_all_that_can_be_changed_are(cli: Cli, engine: FakeEngine) -> None:
    """One unknown job does not keep the others; its fault is the exit code."""
    engine.says("PATCH", "/jobs/8", {"id": 8, "result": "done"})

    outcome = cli("jobs", "pause", "7", "8")

    assert outcome.code == 4
    assert "job 7: " in outcome.err
    assert outcome.out == "job 8: done\n"


def test_a_rerun_can_start_from_what_failed(cli: Cli, engine: FakeEngine) -> None:
    """--from failed is the API's ?from=failed."""
    engine.says("POST", "/jobs/7/rerun", {"id": 9, "result": "accepted"})

    outcome = cli("jobs", "rerun", "7", "--from", "failed", "--json")

    assert outcome.json == {"id": 9, "result": "accepted"}
    assert engine.requests[0].query == {"from": "failed"}


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "POLL_S", 0.001)


@pytest.mark.usefixtures("_quick")
def test_watch_tells_each_change_until_the_job_has_completed(cli: Cli, engine: FakeEngine) -> None:
    """In a pipe: one line a change, nothing twice, exit code 0."""
    engine.says("GET", "/jobs/7", job(queue_state=0), job(), job(), job(queue_state=2))
    running = task(1, "encode", "running", progress=0.5, speed=2.0, eta_s=65)
    engine.says(
        "GET", "/jobs/7/tasks", [task(1, "encode", "ready")], [running], [running], [task(1, "encode", "completed")]
    )

    outcome = cli("jobs", "watch", "7")

    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "job 7 vodstream: queued",
        "job 7 vodstream: started",
        "  encode: running 50% 2.0x 1:05 left",
        "  encode: completed",
        "job 7 completed",
    ]


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize(
    ("end", "said"),
    [
        ({"queue_state": 2, "failed": True, "error": "encode: no"}, "job 7 failed: encode: no"),
        ({"queue_state": 4}, "job 7 broken"),
    ],
)
def test_watch_ends_with_1_where_the_job_did_not_complete(
    cli: Cli, engine: FakeEngine, end: dict[str, Any], said: str
) -> None:
    """Failed and broken jobs are failures of what was watched."""
    engine.says("GET", "/jobs/7", job(**end))
    engine.says("GET", "/jobs/7/tasks", [])

    outcome = cli("jobs", "watch", "7")

    assert outcome.code == 1
    assert outcome.out.splitlines()[-1] == said


@pytest.mark.usefixtures("_quick")
def test_watch_goes_on_where_the_engine_lacks_its_database_for_a_while(cli: Cli, engine: FakeEngine) -> None:
    """An exit code of 1 would say that the job has failed."""
    away = (503, {"error": "The engine cannot reach a component that this needs; try again later"})
    engine.answers["GET", "/jobs/7"] = [(200, job()), away, away, (200, job(queue_state=2))]
    engine.says("GET", "/jobs/7/tasks", [])

    outcome = cli("jobs", "watch", "7")

    assert (outcome.code, outcome.out.splitlines()[-1]) == (0, "job 7 completed")


@pytest.mark.usefixtures("_quick")
def test_watch_prints_json_lines_on_demand(cli: Cli, engine: FakeEngine) -> None:
    """One line per change; the last one has the end."""
    engine.says("GET", "/jobs/7", job(), job(), job(queue_state=2))
    engine.says("GET", "/jobs/7/tasks", [task(1, "encode", "running")])

    lines = cli("jobs", "watch", "7", "--json").json_lines

    assert [line["job"]["queue_state"] for line in lines] == [1, 2]


def test_queues_and_workers_are_listed(cli: Cli, engine: FakeEngine) -> None:
    """Queues are of /health, also where a component is down."""
    engine.says("GET", "/health", {"error": "store", "queues": {"work": {"workers": 1, "pending": 3}}}, status=500)
    engine.says("GET", "/workers", [{"id": "i", "name": "w1", "queues": {"work": 4}}])

    assert cli("queues").out.splitlines()[1].split() == ["work", "1", "3"]
    assert "w1" in cli("workers").out


def test_dead_callbacks_of_all_jobs_are_listed_and_replayed_since_a_time(cli: Cli, engine: FakeEngine) -> None:
    """Page by page; JOB and --since exclude each other."""
    row = {"id": 5, "job_id": 7, "event": "job", "endpoint": "http://a/", "state": "dead", "attempts": 3}
    engine.pages("/callbacks", [row], [{**row, "id": 6}])
    engine.says("POST", "/callbacks/replay", {"result": "ok", "replayed": 4})

    assert [one["job_id"] for one in cli("callbacks", "list", "--since", "2030-01-01", "--json").json] == [7, 7]
    assert [request.query for request in engine.requests] == [
        {"since": "2030-01-01"}, {"since": "2030-01-01", "after_id": "5"},
    ]  # fmt: skip
    assert cli("callbacks", "replay", "--since", "2030-01-01").out == "4 callbacks will be delivered again\n"
    assert cli("callbacks", "replay").code == cli("callbacks", "replay", "7", "--since", "2030-01-01").code == 2


def test_an_endpoint_is_tried(cli: Cli, engine: FakeEngine) -> None:
    """The exit status says whether it took the delivery."""
    engine.says("POST", "/callbacks/test", {"result": "delivered", "status": 204, "error": None, "seconds": 0.012})
    assert cli("callbacks", "test", "http://a/").out == "delivered: answered 204 (0.01 s)\n"
    engine.says("POST", "/callbacks/test", {"result": "failed", "status": None, "error": "no connection", "seconds": 5})
    refused = cli("callbacks", "test", "http://a/")
    assert (refused.code, refused.out) == (1, "not delivered: no connection (5.00 s)\n")


def test_dead_callbacks_of_a_job_are_replayed(cli: Cli, engine: FakeEngine) -> None:
    """Without ids: those that are dead."""
    engine.says("GET", "/jobs/7/callbacks", [{"id": 1, "state": "delivered"}, {"id": 2, "state": "dead"}])
    engine.says("POST", "/jobs/7/callbacks/2/replay", {"result": "ok"})

    assert cli("callbacks", "replay", "7").out == "1 callback of job 7 will be delivered again\n"
    assert len(cli("callbacks", "list", "7", "--json").json) == 2
