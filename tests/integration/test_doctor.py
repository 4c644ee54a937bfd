"""`taskengine doctor` on real servers: what it says of them, and of those that do not do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import asyncpg
import pytest

from taskengine.stores.migrate import migrate
from tests.support.cli import Cli
from tests.support.postgres import PostgresServer
from tests.support.rabbitmq import RabbitServer
from tests.support.seaweedfs import SECRET_KEY, S3Server


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    return Cli(capsys)


def finding(cli: Cli, check: str, *arguments: str) -> tuple[str, str]:
    """(state, detail) of one check."""
    found = {one["check"]: one for one in cli("doctor", "--json", *arguments).json["checks"]}
    return found[check]["state"], found[check]["detail"]


def test_the_doctor_looks_at_postgresql(cli: Cli, postgres: PostgresServer) -> None:
    """Its version, its migrations, the rights of its user; nothing is changed by looking, and no password is told."""
    url = asyncio.run(postgres.new_database())
    with_secret = url.replace("postgres@", "postgres:sesame@")
    state, detail = finding(cli, "store", "--database", with_secret)
    assert (state, "sesame" in detail) == ("warning", False)
    assert "PostgreSQL 1" in detail
    assert "migrations" in detail
    asyncio.run(migrate(url))
    assert finding(cli, "store", "--database", url)[0] == "ok"


def test_the_doctor_tells_a_database_of_a_newer_engine(cli: Cli, postgres: PostgresServer) -> None:
    """This engine can use it, until a migration says that it must not."""

    async def execute(statement: str) -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statement)
        await connection.close()

    url = asyncio.run(postgres.new_database())
    asyncio.run(migrate(url))
    asyncio.run(execute("INSERT INTO migrations (name, checksum) VALUES ('9999_future', 'x')"))
    state, detail = finding(cli, "store", "--database", url)
    assert state == "warning"
    assert "9999_future" in detail
    asyncio.run(execute("INSERT INTO meta (name, value) VALUES ('least_schema', '9999_future')"))
    state, detail = finding(cli, "store", "--database", url)
    assert state == "fault"
    assert "upgrade the engine" in detail


@pytest.mark.parametrize(("made", "fault"), [(False, "make tables in the schema public"), (True, "write the table")])
def test_the_doctor_names_rights_that_are_missing(
    cli: Cli, postgres: PostgresServer, *, made: bool, fault: str
) -> None:
    """Before the first start, and after a change of users."""

    async def prepare() -> str:
        url = await postgres.new_database(await postgres.migrated() if made else "template1")
        connection = await asyncpg.connect(url)
        await connection.execute("DROP ROLE IF EXISTS stranger")
        await connection.execute("CREATE ROLE stranger LOGIN")
        if made:
            await connection.execute("GRANT SELECT ON migrations, meta TO stranger")
        await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        await connection.close()
        return url.replace("postgres@", "stranger@")

    async def tidy() -> None:
        connection = await asyncpg.connect(url.replace("stranger@", "postgres@"))
        await connection.execute("DROP OWNED BY stranger")
        await connection.execute("DROP ROLE stranger")
        await connection.close()

    url = asyncio.run(prepare())
    try:
        state, detail = finding(cli, "store", "--database", url)
    finally:
        asyncio.run(tidy())
    assert state == "fault"
    assert fault in detail


def test_the_doctor_looks_at_rabbitmq(cli: Cli, rabbitmq: RabbitServer) -> None:
    """Its version, as it says it in the handshake; a server that is not there and a login that is refused are faults."""
    state, detail = finding(cli, "broker", "--broker", rabbitmq.url())
    assert state == "ok"
    assert "version 3." in detail or "version 4." in detail
    assert "guest:guest" not in detail
    assert finding(cli, "broker", "--broker", "amqp://guest:guest@127.0.0.1:1/")[0] == "fault"
    state, detail = finding(cli, "broker", "--broker", rabbitmq.url().replace("guest:guest", "guest:sesame"))
    assert (state, "sesame" in detail) == ("fault", False)


def test_the_doctor_names_a_right_that_the_brokers_user_lacks(cli: Cli, rabbitmq: RabbitServer) -> None:
    """What the guide says is enough is enough; less is told, while the login alone would be fine."""
    url = rabbitmq.url("own").replace("guest:guest", "little:sesame")

    async def allow(*rights: str) -> None:
        await rabbitmq.control("set_permissions", "little", *rights)

    asyncio.run(rabbitmq.control("add_user", "little", "sesame"))
    own = r"^(own\.|amq\.gen)"
    asyncio.run(allow(own, r"^(own\.|amq\.(gen|default))", own))
    assert finding(cli, "broker", "--broker", url)[0] == "ok"
    for rights in (("^$", own, own), (own, own, own), (own, own, "^$")):
        asyncio.run(allow(*rights))
        state, detail = finding(cli, "broker", "--broker", url)
        assert state == "fault"
        assert "ACCESS_REFUSED - access to" in detail


def test_the_doctor_looks_into_buckets(cli: Cli, s3: S3Server) -> None:
    """Each root is listed; wrong credentials are told, and are not shown."""
    settings = s3.settings("doctor")
    for secret, found in ((SECRET_KEY, "ok"), ("sesame", "fault")):
        given = {**settings, "credentials": {**settings["credentials"], "secret_access_key": secret}}
        Path("taskengine.yaml").write_text(json.dumps({"storages": {"S3": given}}))
        state, detail = finding(cli, "storage S3")
        assert state == found
        assert "s3://media/doctor/" in detail
        assert "sesame" not in detail
        assert ("access was refused" in detail) == (state == "fault")


def test_the_doctor_names_a_database_that_is_not_there(cli: Cli) -> None:
    """Without its secret."""
    state, detail = finding(cli, "store", "--database", "postgresql://me:sesame@127.0.0.1:1/x")
    assert (state, "sesame" in detail) == ("fault", False)
    assert "127.0.0.1:1" in detail
