"""The command line as processes: what operators, scripts and service managers see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WAIT_S = 60
SLOW = """
name: slow
parameters: {type: object, properties: {seconds: {type: number, default: 600}}, additionalProperties: false}
steps:
  wait: {handler: debug.sleep, with: {seconds: "${{ parameters.seconds }}"}}
"""
FAST = """
name: fast
steps:
  say: {handler: debug.noop, with: {files: [a.mp4], message: done}}
job_callback: {message: "${{ steps.say.outputs.message }}", files: "${{ steps.say.outputs.files }}"}
"""


class Place:
    """A directory of a test's own, with workflows, and commands that run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        folder = root / "workflows"
        folder.mkdir()
        (folder / "slow.yaml").write_text(SLOW)
        (folder / "fast.yaml").write_text(FAST)
        self.data = root / "data"
        self.url = ""

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Nothing of the machine's but the path."""
        plain = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TASKENGINE_WORKFLOWS_DIR": "workflows"}
        found = {"TASKENGINE_URL": self.url} if self.url else {}
        return {**plain, **found, **more}

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start a command; its output is read by pipes."""
        argv = [sys.executable, "-m", "taskengine", *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(argv, cwd=self.root, env=self.environment(env), stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        with self.start(*arguments, **env) as process:
            out, err = process.communicate(timeout=WAIT_S)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str) -> Any:
        """What a command that must succeed prints."""
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def serving(self, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
        """An engine on a free port, and the line with which it said that it is ready."""
        with self.start("serve", "--port", "0", *arguments) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                self.url = next((word for word in line.split() if word.startswith("http://")), "")
                yield process, line
            finally:
                self.url = ""
                process.kill()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An empty place."""
    return Place(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place where an engine runs that these tests share."""
    place = Place(tmp_path_factory.mktemp("served"))
    with place.serving():
        yield place


def states(jobs: Sequence[Mapping[str, Any]]) -> dict[int, Any]:
    """id → state of jobs."""
    return {job["id"]: job["queue_state"] for job in jobs}


def test_serve_says_where_it_is_and_where_the_key_is(place: Place) -> None:
    """One line on stdout: the URL and the key's file; client commands in the same place need neither."""
    with place.serving() as (process, line):
        url = place.url
        assert url.startswith("http://127.0.0.1:")
        assert str(place.data / "api-key") in line
        assert (place.data / "api-key").read_text().strip() not in line

        job_id = place.json("submit", "fast", "-p", "content_id=one")["id"]
        watched = place.run("jobs", "watch", str(job_id))
        assert watched.returncode == 0, watched.stderr
        assert watched.stdout.splitlines()[-1] == f"job {job_id} completed"
        assert [job["id"] for job in place.json("jobs", "list")] == [job_id]
        assert place.json("jobs", "show", str(job_id))["tasks"][0]["name"] == "say"
        messages = [entry["message"] for entry in place.json("jobs", "logs", str(job_id))]
        assert "job has completed successfully" in messages
        assert "work" in place.json("queues")
        assert place.run("jobs", "show", "999").returncode == 4
        assert place.run("submit", "no_such_workflow").returncode in {2, 4}
        process.terminate()
        out, err = process.communicate(timeout=WAIT_S)

    assert process.returncode == 0, err
    assert out == ""  # the one line was all
    done = place.run("jobs", "list", "--url", url)
    assert done.returncode == 3  # it cannot be reached
    assert url in done.stderr


def test_a_data_directory_has_one_owner(served: Place) -> None:
    """A second `serve` and a `run` on it are refused with the way to submit; the first goes on."""
    for arguments in (("serve", "--port", "0"), ("run", "fast", "-p", "content_id=x")):
        done = served.run(*arguments)
        assert done.returncode == 1, done.stderr
        assert "taskengine submit" in done.stderr
        assert "Traceback" not in done.stderr
    assert served.run("jobs", "list").returncode == 0


def test_jobs_are_paused_resumed_broken_and_run_again(served: Place) -> None:
    """The verbs change the state that the list shows."""
    job_id = str(served.json("submit", "slow", "-p", "content_id=x")["id"])
    with served.start("jobs", "watch", job_id) as watching:
        assert watching.stdout is not None
        while "running" not in watching.stdout.readline():
            assert watching.poll() is None
        assert served.run("jobs", "pause", job_id).returncode == 0
        assert served.json("jobs", "show", job_id)["queue_state"] in {6, "paused"}
        assert served.run("jobs", "resume", job_id).returncode == 0
        again = str(served.json("jobs", "rerun", job_id)["id"])
        watching.communicate(timeout=WAIT_S)
    assert watching.returncode == 1  # broken is no success
    assert served.run("jobs", "break", again).returncode == 0
    assert served.run("jobs", "pause", again).returncode == 1
    found = states(served.json("jobs", "list"))
    assert {found[int(job_id)], found[int(again)]} <= {4, "broken"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_drains_serve_and_a_second_ends_it_at_once(place: Place, number: signal.Signals) -> None:
    """A task that goes on for minutes holds the drain; the second signal does not wait for it."""
    with place.serving() as (process, _):
        job_id = str(place.json("submit", "slow", "-p", "content_id=x")["id"])
        with place.start("jobs", "watch", job_id) as watching:
            assert watching.stdout is not None
            while "running" not in watching.stdout.readline():
                assert watching.poll() is None
            watching.kill()
        process.send_signal(number)
        assert process.stderr is not None
        while "draining" not in (line := process.stderr.readline()):
            assert line, "it ended at the first signal"
        process.send_signal(number)
        process.wait(timeout=WAIT_S)

    assert process.returncode == 128 + number


def test_run_prints_the_outputs_of_one_job_and_needs_no_services(place: Place) -> None:
    """The embedded default is used, whatever the environment names."""
    away = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/x", "AMQP_URL": "amqp://127.0.0.1:9"}

    done = place.run("run", "fast", "-p", "content_id=x", "--json", **away)

    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["status"], made["message"], made["files"]) == ("completed", "done", ["a.mp4"])
    assert "say: completed" in done.stderr


def test_run_ends_with_1_where_the_job_failed_and_2_where_it_could_not_be_one(place: Place) -> None:
    """What is wrong is said in both cases."""
    failed = place.run("run", "vodstream", "-p", "content_id=x", "-p", "source_folder=none")
    refused = place.run("run", "vodstream", "-p", "source_folder=none")

    assert failed.returncode == 1
    assert "source_folder" in failed.stdout
    assert refused.returncode == 2
    assert "content_id" in refused.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_no_job_to_go_on(place: Place, number: signal.Signals, code: int) -> None:
    """The exit code is the signal's; the next owner of the directory finds the job broken."""
    with place.start("run", "slow", "-p", "content_id=x") as running:
        assert running.stderr is not None
        while "running" not in (line := running.stderr.readline()):
            assert line, "it ended by itself"
        running.send_signal(number)
        running.communicate(timeout=WAIT_S)
    assert running.returncode == code

    with place.serving():
        [job] = place.json("jobs", "list")

    assert job["queue_state"] in {4, "broken"}


def test_a_new_client_can_submit_and_sees_its_own_jobs_alone(served: Place) -> None:
    """`clients add` works beside a running engine."""
    served.json("submit", "fast", "-p", "content_id=x")
    key = served.json("clients", "add", "acme")["api_key"]
    as_acme = ("--client", "acme", "--api-key", key)
    for _ in range(100):  # the engine sees it within seconds: each refusal takes one look
        if served.run("jobs", "list", *as_acme).returncode == 0:
            break
    assert served.json("jobs", "list", *as_acme) == []
    assert served.run("jobs", "list", "--client", "acme", "--api-key", "wrong").returncode == 1


def test_a_reader_that_goes_away_is_no_fault(place: Place) -> None:
    """`taskengine … | head -1` ends without a traceback."""
    argv = f"{sys.executable} -m taskengine workflows schema | head -1"
    done = subprocess.run(
        ["bash", "-c", argv], cwd=place.root, env=place.environment({}), capture_output=True, text=True, check=True
    )

    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_module_and_script_are_the_same(place: Place) -> None:
    """`python -m taskengine` and `taskengine`."""
    script = Path(sys.executable).with_name("taskengine")
    if not script.exists():
        pytest.skip("the package is not installed here, only checked out")

    by_script = subprocess.run(
        [script, "--help"], capture_output=True, text=True, check=True, env=place.environment({})
    )

    assert by_script.stdout == place.run("--help").stdout
