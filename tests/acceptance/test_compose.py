"""`compose.yaml`, as Docker Compose reads it and as the product takes what it says."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from taskengine.app.storages import build_storages
from taskengine.settings import Settings
from tests.support.deployment import ROOT, compose_program, run, settings_from, understood
from tests.support.engine import write_workflows
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitServer, free_port

Services = dict[str, dict[str, Any]]


def render(env_file: Path, *more: str) -> Any:
    """What `docker compose config` makes of the file."""
    return run(
        compose_program(), "--file", ROOT / "compose.yaml", "--env-file", env_file, *more, "config", "--format", "json"
    )


@pytest.fixture(scope="module")
def env_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The passwords, as the script makes them."""
    path = tmp_path_factory.mktemp("compose") / "env"
    assert run(ROOT / "scripts" / "compose-secrets", path).returncode == 0
    return path


@pytest.fixture(scope="module")
def services(env_file: Path) -> Services:
    """Every service with all that is inherited."""
    outcome = render(env_file, "--profile", "s3")
    assert outcome.returncode == 0, outcome.stderr
    found: Services = json.loads(outcome.stdout)["services"]
    return found


def of_task_engine(services: Services) -> dict[str, tuple[dict[str, Any], Settings]]:
    """name → (service, what its process takes for its settings)."""
    ours = {name: service for name, service in services.items() if service["image"] == "task-engine:local"}
    return {name: (service, settings_from(service["environment"])) for name, service in ours.items()}


def test_there_are_two_engines_three_workers_and_their_servers(services: Services) -> None:
    """Each with a way to say that it is well, where it listens."""
    replicas = {name: service.get("deploy", {}).get("replicas", 1) for name, service in services.items()}
    assert replicas == {"engine-1": 1, "engine-2": 1, "worker": 3, "postgres": 1, "rabbitmq": 1, "seaweedfs": 1}
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"worker"}
    assert {name for name, service in services.items() if service.get("profiles")} == {"seaweedfs"}


def test_what_the_processes_are_told_is_understood(services: Services) -> None:
    """Their commands parse, and engines and workers mean the same servers and folders."""
    ours = of_task_engine(services)
    for service, settings in ours.values():
        understood(service["command"])
        assert settings.drain_grace_s + 10 <= float(service["stop_grace_period"].removesuffix("s"))
        media = {volume["target"] for volume in service["volumes"] if volume.get("source") == "media"}
        assert media == {"/media"}
        assert settings.workspace.startswith("/media/")
        assert str(settings.storages["local"].url).startswith("/media/")
        assert not str(settings.scratch).startswith("/media/")
    assert len({(str(settings.broker_url), settings.workspace) for _, settings in ours.values()}) == 1
    databases = {name: str(settings.database_url).partition(":")[0] for name, (_, settings) in ours.items()}
    assert databases == {"engine-1": "postgresql", "engine-2": "postgresql", "worker": "sqlite"}


def test_a_second_file_gives_every_process_a_storage_in_seaweedfs(env_file: Path) -> None:
    """Without a profile; engines and workers mean the same bucket, with the server's own key."""
    s3 = ROOT / "config" / "deploy" / "compose" / "s3.yaml"
    outcome = render(env_file, "--file", str(s3))
    assert outcome.returncode == 0, outcome.stderr
    found: Services = json.loads(outcome.stdout)["services"]
    server = found["seaweedfs"]["environment"]
    for _, settings in of_task_engine(found).values():
        storage = settings.storages["S3"]
        assert (storage.kind, storage.url, storage.options["endpoint"]) == ("s3", "s3://media", "http://seaweedfs:8333")
        assert build_storages(settings).open("S3").full_path("film") == "s3://media/output/film"
        given = {name: secret.get_secret_value() for name, secret in storage.credentials.items()}
        assert given == {
            "access_key_id": server["AWS_ACCESS_KEY_ID"], "secret_access_key": server["AWS_SECRET_ACCESS_KEY"],
        }  # fmt: skip


def test_the_servers_have_the_passwords_that_the_processes_use(services: Services) -> None:
    """And the addresses are names of services."""
    _, engine = of_task_engine(services)["engine-1"]
    postgres, rabbitmq = services["postgres"]["environment"], services["rabbitmq"]["environment"]
    user, password = postgres["POSTGRES_USER"], postgres["POSTGRES_PASSWORD"]
    assert str(engine.database_url) == f"postgresql://{user}:{password}@postgres/{postgres['POSTGRES_DB']}"
    user, password = rabbitmq["RABBITMQ_DEFAULT_USER"], rabbitmq["RABBITMQ_DEFAULT_PASS"]
    assert str(engine.broker_url) == f"amqp://{user}:{password}@rabbitmq/"
    assert engine.bootstrap_api_key is not None


def test_nothing_listens_beyond_this_machine_unless_it_is_told_to(services: Services) -> None:
    """The servers not at all, the engines on loopback, each on a port of its own."""
    ports = [(name, port["host_ip"], port["published"]) for name, service in services.items()
             for port in service.get("ports", ())]  # fmt: skip
    assert ports == [("engine-1", "127.0.0.1", "8080"), ("engine-2", "127.0.0.1", "8081")]


def test_without_secrets_nothing_starts(tmp_path: Path) -> None:
    """And one is told how to make them."""
    (tmp_path / "env").touch()
    outcome = render(tmp_path / "env")
    assert outcome.returncode != 0
    assert "run scripts/compose-secrets" in outcome.stderr


def test_secrets_are_made_once_and_for_their_owner_alone(env_file: Path) -> None:
    """A second run changes nothing; what is missing is added."""
    before = env_file.read_text()
    lines = dict(line.split("=") for line in before.splitlines())
    assert env_file.stat().st_mode & 0o777 == 0o600
    assert len(set(lines.values())) == len(lines) == 5
    assert all(len(value) == 64 for value in lines.values())
    assert run(ROOT / "scripts" / "compose-secrets", env_file).returncode == 0
    assert env_file.read_text() == before


async def test_two_engines_and_the_workers_do_a_job_together(
    services: Services, tmp_path: Path, postgres: PostgresServer, rabbitmq: RabbitServer
) -> None:
    """The commands and environments of the file, as processes of this machine: given to one engine, asked of the other."""
    database = await postgres.new_database(await postgres.migrated())
    ports = {"engine-1": free_port(), "engine-2": free_port(), "worker": 0}
    key = services["engine-1"]["environment"]["TASKENGINE_BOOTSTRAP_API_KEY"]
    places = {
        "DATABASE_URL": database,
        "BROKER_URL": rabbitmq.url(),
        "WORKFLOWS_DIR": str(write_workflows(tmp_path / "wf")),
    }
    async with AsyncExitStack() as stack:
        for name, port in ports.items():
            env = {
                variable: value.replace("/media/", f"{tmp_path}/media/").replace("/data/", f"{tmp_path}/{name}/")
                for variable, value in services[name]["environment"].items()
            }
            env |= {f"TASKENGINE_{place}": value for place, value in places.items()}
            env |= {"TASKENGINE_PORT": str(port), "TASKENGINE_DATA_DIR": str(tmp_path / name)}
            if name == "worker":
                del env["TASKENGINE_DATABASE_URL"]
            command = [sys.executable, "-m", "taskengine", *services[name]["command"]]
            paths = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
            process = await asyncio.create_subprocess_exec(*command, env={**env, **paths}, cwd=tmp_path)
            stack.push_async_callback(_end, process)
        http = await stack.enter_async_context(ClientSession(headers={"client": "demo", "api-key": key}))
        first, second = (f"http://127.0.0.1:{ports[name]}" for name in ("engine-1", "engine-2"))
        async with asyncio.timeout(60):
            for url in (first, second):
                while not await _ready(http, url):  # noqa: ASYNC110 - it is another process
                    await asyncio.sleep(0.1)
            body = {"job": {"workflow": "chain"}, "parameters": {"content_id": "c", "x": 1}}
            reply = await http.post(f"{second}/job", json=body)
            assert reply.status == 200, await reply.text()
            job = f"{first}/jobs/{(await reply.json())['id']}"
            while (found := await (await http.get(job)).json())["completed_at"] is None:  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.1)
    assert found["failed"] is False
    await postgres.drop_database(database)


async def _ready(http: ClientSession, url: str) -> bool:
    try:
        return (await http.get(f"{url}/readyz")).status == 200
    except ClientError:
        return False


async def _end(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 60) == 0
