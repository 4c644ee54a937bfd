"""A private PostgreSQL server of installed packages for the tests, and databases on it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from taskengine.stores.migrate import migrate
from tests.support.services import require_service

HOW_TO_INSTALL = "no PostgreSQL server is installed: apt-get install postgresql"
_SETTINGS = (
    "-c fsync=off -c full_page_writes=off -c max_connections=200 -c shared_buffers=32MB "
    "-c autovacuum=off -c log_min_messages=fatal"
)


def binaries() -> Path | None:
    """Where the programs are of the server that POSTGRES_BIN names, else of the newest installed one."""
    if named := os.environ.get("POSTGRES_BIN"):
        return Path(named)
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return folders[-1].parent if folders else None


@dataclass
class PostgresServer:
    """A server of its own on a free port, with its data in a temporary folder."""

    folder: Path
    programs: Path
    port: int = 0
    _template: str | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    def url(self, database: str = "postgres") -> str:
        """How to reach a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def initialise(self) -> None:
        """Make the cluster, for the user who may run it."""
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres")
        self._run("initdb", "-D", str(self.folder / "data"), "-A", "trust", "-U", "postgres", "-N", "-E", "UTF8",
                  "--locale=C.UTF-8")  # fmt: skip

    def start(self) -> None:
        """Start it, on the port that it had before if it had one."""
        self.port = self.port or _free_port()
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", str(self.folder / "log"), "-o",
                  f"{_SETTINGS} -c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder}", "start")  # fmt: skip

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; `immediate` is a crash."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", mode, "stop")

    async def migrated(self) -> str:
        """A database with the present schema and nothing in it, to be copied."""
        if self._template is None:
            url = await self.new_database()
            await migrate(url)
            self._template = url.rpartition("/")[2]
        return self._template

    async def drop_database(self, url: str) -> None:
        """Remove a database, whoever is still connected."""
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")
        finally:
            await connection.close()

    async def new_database(self, template: str = "template1") -> str:
        """Make an empty database, or a copy; its URL."""
        name = f"test{next(self._numbers)}"
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        finally:
            await connection.close()
        return self.url(name)

    def _run(self, program: str, *arguments: str) -> None:
        argv = [str(self.programs / program), *arguments]
        if os.geteuid() == 0:  # the server refuses to be root
            user = pwd.getpwnam("postgres")
            argv = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", *argv]
        done = subprocess.run(
            argv, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} failed: {done.stdout}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A server that is gone at the end, whatever happens."""
    programs = binaries()
    require_service("PostgreSQL", None if programs else HOW_TO_INSTALL)
    assert programs is not None
    with tempfile.TemporaryDirectory(prefix="te-pg-", ignore_cleanup_errors=True) as name:
        server = PostgresServer(Path(name), programs)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            if (server.folder / "data" / "postmaster.pid").exists():
                server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The session's server."""
    with running_server() as server:
        yield server
