from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from taskengine import __version__
from taskengine.cli.doctor import LEAST_DISK
from tests.support.cli import Cli
from tests.support.published import PARAMETERS

WORKFLOW = """
name: two_steps
description: Two steps.
parameters:
  type: object
  required: [seconds]
  properties:
    seconds: {type: number}
    more: {type: boolean, default: false}
  additionalProperties: false
steps:
  wait: {handler: debug.sleep, queue: slow, with: {seconds: "${{ parameters.seconds }}"}}
  after: {handler: debug.noop, needs: [wait], if: "${{ parameters.more }}"}
"""


@pytest.fixture
def workflow(tmp_path: Path) -> Path:
    """A workflow file."""
    path = tmp_path / "two_steps.yaml"
    path.write_text(WORKFLOW)
    return path


def test_version_is_the_packages(cli: Cli) -> None:
    """As text and as JSON."""
    assert cli("version").out == f"{__version__}\n"
    assert cli("version", "--json").json == {"version": __version__}


# ------------------------------------------------------------------------------------------------------ workflows


def test_the_published_workflows_are_listed(cli: Cli) -> None:
    """All fourteen."""
    found = {each["name"] for each in cli("workflows", "list", "--json").json}

    assert found >= PARAMETERS.keys()
    assert "vodstream" in cli("workflows", "list").out


def test_workflows_of_a_configured_directory_are_found(
    cli: Cli, workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TASKENGINE_WORKFLOWS_DIR adds to the built-in ones."""
    monkeypatch.setenv("TASKENGINE_WORKFLOWS_DIR", str(workflow.parent))

    outcome = cli("workflows", "show", "two_steps", "--json")

    assert outcome.json["definition"]["steps"]["wait"]["handler"] == "debug.sleep"
    assert "required" in cli("workflows", "show", "two_steps").out


def test_an_unknown_workflow_is_not_found_and_the_nearest_is_named(cli: Cli) -> None:
    """Exit code 4."""
    outcome = cli("workflows", "show", "vodstrem")

    assert outcome.code == 4
    assert "did you mean 'vodstream'" in outcome.err


def test_validate_tells_every_fault_with_its_line(cli: Cli, workflow: Path, tmp_path: Path) -> None:
    """Good and bad files together: 1, and the good ones are told as such."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("name: bad\nsteps:\n  a: {handler: no.such, needs: [b]}\n  c: {handler: debug.noop, qeue: x}\n")

    outcome = cli("workflows", "validate", str(workflow), str(bad))

    assert outcome.code == 1
    assert f"{workflow}: valid" in outcome.out
    assert f"{bad}:3: " in outcome.out
    assert f"{bad}:4: " in outcome.out
    verdicts = cli("workflows", "validate", str(tmp_path), "--json").json
    assert {Path(each["file"]).name: each["valid"] for each in verdicts} == {"bad.yaml": False, "two_steps.yaml": True}
    assert cli("workflows", "validate", str(workflow)).code == 0


def test_explain_shows_the_tasks_that_there_would_be(cli: Cli, workflow: Path) -> None:
    """Steps whose `if` is decided by parameters are told as decided."""
    outcome = cli("workflows", "explain", str(workflow), "-p", "seconds=1.5", "--json")

    assert outcome.code == 0, outcome.err
    tasks = {task["name"]: task for task in outcome.json["tasks"]}
    assert tasks["wait"]["inputs"] == {"seconds": 1.5}
    assert (tasks["wait"]["state"], tasks["after"]["state"]) == ("runs", "skipped")
    assert outcome.json["arguments"]["more"] is False


def test_explain_refuses_what_the_schema_refuses(cli: Cli, workflow: Path) -> None:
    """Every fault at once; a workflow of one's own takes no unknown parameter."""
    outcome = cli("workflows", "explain", str(workflow), "-p", "secnds=1", "-p", "more=maybe")

    assert outcome.code == 2
    assert all(name in outcome.err for name in ("/parameters/seconds", "/parameters/secnds", "/parameters/more"))


def test_graph_draws_the_needs(cli: Cli, workflow: Path) -> None:
    """As Mermaid, as DOT and as JSON."""
    assert "s_wait --> s_after" in cli("workflows", "graph", str(workflow)).out
    assert '"wait" -> "after"' in cli("workflows", "graph", str(workflow), "--format", "dot").out
    assert cli("workflows", "graph", str(workflow), "--json").json == {"wait": [], "after": ["wait"]}


def test_schema_is_that_of_the_file_format(cli: Cli, workflow: Path) -> None:
    """And with a workflow that of its parameters."""
    assert "steps" in cli("workflows", "schema").json["properties"]
    assert "seconds" in cli("workflows", "schema", str(workflow)).json["properties"]


# ------------------------------------------------------------------------------------------------------- profiles

RUNG = "{width: 640, height: 360, crf: 23, max_bitrate: 900000}"


def test_profiles_are_listed_with_those_of_the_installation_and_of_a_client(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`profiles_dirs` adds to the built-in ones; a faulty file is told of."""
    (tmp_path / "clients" / "acme").mkdir(parents=True)
    for path in ("HOUSE", "clients/acme/OWN"):
        name = path.rpartition("/")[2]
        (tmp_path / f"{path}.yaml").write_text(f"name: {name}\nvideo: [{{encoder: libx264, rungs: [{RUNG}]}}]\n")
    (tmp_path / "BAD.yaml").write_text("name: BAD\n")
    monkeypatch.setenv("TASKENGINE_PROFILES_DIRS", json.dumps([str(tmp_path)]))

    outcome = cli("profiles", "list", "--json")
    found = {each["name"]: each for each in outcome.json}
    assert {"H264", "H265", "AV1", "HOUSE"} <= found.keys()
    assert found["HOUSE"]["video"][0]["rungs"][0]["height"] == 360
    assert f"Warning: {tmp_path}/BAD.yaml:" in outcome.err
    assert "OWN" not in found
    assert "OWN" in {each["name"] for each in cli("profiles", "list", "--client", "acme", "--json").json}
    assert "libx264: 1" in cli("profiles", "list").out


def test_profiles_are_judged_as_an_engine_would(cli: Cli, tmp_path: Path) -> None:
    """Every fault with its line: unknown words, another name than the file's, a file that no engine reads."""
    good, bad, other, unread = (tmp_path / name for name in ("GOOD.yaml", "BAD.yaml", "OTHER.yaml", "UNREAD.yml"))
    text = f"name: GOOD\nvideo:\n  - encoder: libx264\n    rungs: [{RUNG}]\n"
    for path in (good, other, unread):
        path.write_text(text)
    bad.write_text(text.replace("GOOD", "BAD").replace("libx264", "x264") + "audo: {}\n")

    outcome = cli("profiles", "validate", str(tmp_path))

    assert outcome.code == 1
    assert f"{good}: valid" in outcome.out
    assert f"{bad}:3: video.0.encoder: " in outcome.out
    assert f"{bad}:5: audo: " in outcome.out
    assert f"{other}:1: its name is 'GOOD', not that of its file" in outcome.out
    assert f"{unread}:1: engines read files that end in .yaml alone" in outcome.out
    verdicts = cli("profiles", "validate", str(good), str(bad), "--json").json
    assert [(each["valid"], len(each["faults"])) for each in verdicts] == [(True, 0), (False, 2)]
    assert cli("profiles", "validate", str(good)).code == 0


# -------------------------------------------------------------------------------------------------- configuration


def test_config_show_masks_secrets_unless_told_otherwise(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """--redacted is the default."""
    monkeypatch.setenv("TASKENGINE_BOOTSTRAP_API_KEY", "hush-hush")
    monkeypatch.setenv("TASKENGINE_DATABASE_URL", "postgresql://u:hush-hush@db/x")

    for arguments in ((), ("--redacted",), ("--json",)):
        assert "hush-hush" not in cli("config", "show", *arguments).out
    shown = yaml.safe_load(cli("config", "show", "--with-secrets").out)
    assert shown["bootstrap_api_key"] == "hush-hush"


def test_flags_are_over_the_environment(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the order of sources has it."""
    monkeypatch.setenv("TASKENGINE_DATA_DIR", str(tmp_path / "env"))

    shown = cli("config", "show", "--json", "--data-dir", str(tmp_path / "flag")).json

    assert shown["data_dir"] == str(tmp_path / "flag")


def test_config_check_tells_all_faults(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1, one line each, and the nearest name."""
    monkeypatch.setenv("TASKENGINE_PROT", "1")
    monkeypatch.setenv("TASKENGINE_HEARTBEAT_S", "soon")

    outcome = cli("config", "check")

    assert outcome.code == 1
    assert "TASKENGINE_PORT" in outcome.err
    assert "TASKENGINE_HEARTBEAT_S" in outcome.err
    assert len(cli("config", "check", "--json").json["faults"]) == 2
    monkeypatch.delenv("TASKENGINE_PROT")
    monkeypatch.delenv("TASKENGINE_HEARTBEAT_S")
    assert cli("config", "check").code == 0


@pytest.mark.parametrize(
    ("name", "url", "fault"),
    [
        ("TASKENGINE_DATABASE_URL", "postgresql://me:sesame@host:port/x", "/database_url: database: the URL cannot"),
        ("TASKENGINE_DATABASE_URL", "postgresql://me:sesame@host/", "names no database"),
        ("TASKENGINE_BROKER_URL", "amqp://me:sesame@host:port/", "/broker_url: it is no URL"),
        ("TASKENGINE_BROKER_URL", "amqp://me:sesame@host/?queues=stream", "queues is 'stream'"),
        ("TASKENGINE_BROKER_URL", "kafka://host", "no broker has URLs of the kind 'kafka'"),
    ],
)
def test_config_check_reads_the_urls_of_servers(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, url: str, fault: str
) -> None:
    """Without connecting to any, and without telling a password."""
    monkeypatch.setenv(name, url)
    outcome = cli("config", "check")
    assert outcome.code == 1
    assert fault in outcome.err
    assert "sesame" not in outcome.err


def test_config_check_accepts_servers_that_are_not_there(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether they are is for `doctor` to say."""
    monkeypatch.setenv("TASKENGINE_DATABASE_URL", "postgresql://me:sesame@db.invalid:5432/taskengine")
    monkeypatch.setenv("TASKENGINE_BROKER_URL", "amqps://me:sesame@mq.invalid/%2F?prefix=one&queues=quorum")
    assert cli("config", "check").code == 0


def test_migrate_makes_the_schema_once(cli: Cli, tmp_path: Path) -> None:
    """The second time there is nothing to do."""
    applied = cli("migrate", "--data-dir", str(tmp_path / "d"), "--json").json["applied"]

    assert applied
    assert cli("migrate", "--data-dir", str(tmp_path / "d")).out == "the schema is current\n"


def test_a_data_directory_that_cannot_be_one_is_named(cli: Cli, tmp_path: Path) -> None:
    """As a fault of the configuration: where it lies and why."""
    (tmp_path / "d").touch()
    outcome = cli("run", "debug", "--data-dir", str(tmp_path / "d"))
    assert outcome.code == 2
    assert outcome.err.splitlines() == [f"Error: /data_dir: the folder {tmp_path / 'd'} cannot be used: File exists"]


# -------------------------------------------------------------------------------------------------------- clients


def test_a_new_store_gets_its_admin_before_other_clients(cli: Cli, tmp_path: Path) -> None:
    """`clients add` before the first `serve` leaves nobody locked out."""
    outcome = cli("clients", "add", "acme", "--data-dir", str(tmp_path / "d"), "--json")

    assert outcome.code == 0, outcome.err
    assert outcome.json["client"] == "acme"
    assert len(outcome.json["api_key"]) > 30
    key_file = tmp_path / "d" / "api-key"
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert str(key_file) in outcome.err
    names = [each["name"] for each in cli("clients", "list", "--data-dir", str(tmp_path / "d"), "--json").json]
    assert names == ["acme", "demo"]


@pytest.mark.parametrize("role", ["admin", "operator", "submitter", "viewer"])
def test_a_client_has_the_role_that_it_is_given(cli: Cli, tmp_path: Path, role: str) -> None:
    """Roles are named as everywhere else, in small letters."""
    place = ("--data-dir", str(tmp_path / "d"), "--json")
    outcome = cli("clients", "add", "acme", "--role", role, *place)

    assert outcome.code == 0, outcome.err
    assert {each["name"]: each["role"] for each in cli("clients", "list", *place).json}["acme"] == role


def test_keys_are_added_shown_once_and_revoked(cli: Cli, tmp_path: Path) -> None:
    """The list names keys by their ids alone."""
    place = ("--data-dir", str(tmp_path / "d"))
    first = cli("clients", "add", "acme", *place, "--json").json
    second = cli("clients", "keys", "add", "acme", *place, "--json").json
    assert cli("clients", "secrets", "acme", *place, "--json").json == [first["callback_secret"]]
    assert cli("clients", "secrets", "acme", *place).out.strip() == first["callback_secret"]
    assert cli("clients", "secrets", "nobody", *place).code == 4
    assert "callback_secret" not in second

    assert cli("clients", "keys", "revoke", "acme", str(first["id"]), *place).code == 0

    listed = cli("clients", "list", *place, "--json")
    acme = next(each for each in listed.json if each["name"] == "acme")
    assert {key["id"]: key["revoked_at"] is None for key in acme["keys"]} == {first["id"]: False, second["id"]: True}
    assert second["api_key"] not in listed.out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("add", "demo"), 1), (("add", "Bad Name"), 2), (("keys", "add", "nobody"), 4),
        (("keys", "revoke", "demo", "99"), 4), (("keys", "revoke", "demo", "1"), 1),
    ],
)  # fmt: skip
def test_what_cannot_be_done_with_a_client_is_refused(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    """Taken, misspelt, unknown, and the last admin's key."""
    outcome = cli("clients", *arguments, "--data-dir", str(tmp_path / "d"))

    assert outcome.code == code
    assert "Error: " in outcome.err


# ---------------------------------------------------------------------------------------------- doctor and worker


def test_doctor_finds_this_installation_fit(cli: Cli, tmp_path: Path) -> None:
    """Every kind of check has a finding; nothing is left behind by looking."""
    outcome = cli("doctor", "--data-dir", str(tmp_path / "d"), "--json")

    checks = {finding["check"]: finding for finding in outcome.json["checks"]}
    wanted = {"ffmpeg", "ffprobe", "packager", "broker", "store", "storage local", "disk data", "sandbox"}
    assert wanted <= checks.keys()
    assert outcome.code == 0, outcome.out
    assert not (tmp_path / "d").exists()


def test_doctor_says_what_is_at_fault(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configured binary that is not there and a disk that is full: exit code 1."""
    monkeypatch.setenv("TASKENGINE_TOOLS__FFMPEG", str(tmp_path / "no-ffmpeg"))
    usage = type("Usage", (), {"free": LEAST_DISK - 1})
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)

    outcome = cli("doctor", "--json")

    assert outcome.code == 1
    faults = {finding["check"] for finding in outcome.json["checks"] if finding["state"] == "fault"}
    assert faults == {"binaries", "disk data", "disk scratch"}


def test_doctor_reports_a_wrong_configuration(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the first thing that it checks."""
    monkeypatch.setenv("TASKENGINE_PROT", "1")

    outcome = cli("doctor")

    assert outcome.code == 1
    assert "TASKENGINE_PORT" in outcome.out


@pytest.mark.parametrize("queue", ["work", "all"])
def test_a_worker_refuses_a_broker_that_meets_nobody(cli: Cli, queue: str) -> None:
    """memory:// is within one process: exit code 2, and what to do instead."""
    outcome = cli("worker", "--queue", queue)

    assert outcome.code == 2
    assert "memory://" in outcome.err
    assert "--broker amqp://" in outcome.err


@pytest.mark.parametrize("text", ["work", "work=", "=3", "work=0", "work=x", "0", "work=1.5"])
def test_a_wrong_concurrency_is_a_usage_error(cli: Cli, text: str) -> None:
    """Before anything is started."""
    outcome = cli("serve", "--concurrency", text)

    assert outcome.code == 2
    assert "--concurrency" in outcome.err


def test_concurrency_of_an_unknown_queue_is_a_usage_error(cli: Cli) -> None:
    """By an engine: a misspelt queue would silently have the usual slots."""
    outcome = cli("serve", "--concurrency", "transcod=2")
    assert outcome.code == 2
    assert "'transcod' is none of the queues of this engine; did you mean 'transcode'?" in outcome.err


def test_a_worker_of_all_queues_leaves_those_of_others(
    cli: Cli, workflow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would fail their tasks: it has no handler for them. Named, it takes one of them all the same."""
    monkeypatch.setenv("TASKENGINE_WORKFLOWS_DIR", str(workflow.parent))
    monkeypatch.setenv("TASKENGINE_EXTERNAL_QUEUES", '["slow"]')
    monkeypatch.setenv("TASKENGINE_START_WAIT_S", "0")
    command = ("worker", "--broker", "amqp://127.0.0.1:1/", "--concurrency", "slow=1", "--queue", "all")
    outcome = cli(*command)
    assert outcome.code == 2
    assert "'slow' is none of the queues of this worker" in outcome.err
    assert cli(*command, "--queue", "slow").code == 3  # it got as far as the broker, which is not there


def test_a_wrong_configuration_stops_serve(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """All faults at once, exit code 2, no traceback."""
    monkeypatch.setenv("TASKENGINE_PROT", "1")
    monkeypatch.setenv("TASKENGINE_HEARTBEAT_S", "soon")

    outcome = cli("serve")

    assert outcome.code == 2
    assert "TASKENGINE_PORT" in outcome.err
    assert "TASKENGINE_HEARTBEAT_S" in outcome.err
    assert "Traceback" not in outcome.err


def test_run_says_what_to_do_with_a_folder_of_this_machine(cli: Cli, tmp_path: Path) -> None:
    """Paths are logical: an absolute path of the machine is explained, not read."""
    videos = tmp_path / "my videos"
    videos.mkdir()

    outcome = cli("run", "vodstream", "-p", "content_id=x", "-p", f"source_folder={videos}")

    assert outcome.code == 2
    assert str(tmp_path / "data" / "storage" / "source") in outcome.err
    assert "source_folder='my videos'" in outcome.err


def test_run_accepts_a_path_below_the_source_root_by_its_logical_name(cli: Cli, tmp_path: Path) -> None:
    """A path of the machine that lies below the root is answered with its logical name."""
    folder = tmp_path / "data" / "storage" / "source" / "in" / "one"
    folder.mkdir(parents=True)

    outcome = cli("run", "vodstream", "-p", "content_id=x", "-p", f"source_folder={folder}")

    assert outcome.code == 2
    assert "source_folder=in/one" in outcome.err


def test_parameters_are_json_where_they_parse(cli: Cli, workflow: Path, tmp_path: Path) -> None:
    """NaN is no JSON; a number may be meant as a text; a file may be JSON too."""
    from taskengine.cli.parameters import parse_value, read_parameters

    texts = ("1", "-2.5", "true", "1e3", "null", "[1]", '"x"', "x y", "NaN", "", "01")
    assert [parse_value("p", text) for text in texts] == [
        "1", "-2.5", True, 1000.0, None, [1], "x", "x y", "NaN", "", "01",
    ]  # fmt: skip
    assert [parse_value("custom_data", text) for text in ("1", "x")] == [1, "x"]
    file = tmp_path / "p.json"
    file.write_text(json.dumps({"a": {"b": 1}}))
    assert read_parameters(["c=2"], str(file)) == {"a": {"b": 1}, "c": "2"}
