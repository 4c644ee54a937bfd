"""A RabbitMQ of the tests' own, on free ports and in a temporary directory: the installed package's, or that of RABBITMQ_BIN."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.services import end_session, is_alive, require_service, spawn_apart

_PROGRAMS = Path(os.environ.get("RABBITMQ_BIN", "/usr/lib/rabbitmq/bin"))
_SERVER, _CONTROL = _PROGRAMS / "rabbitmq-server", _PROGRAMS / "rabbitmqctl"
_PATH = f"{_PROGRAMS}{os.pathsep}{os.environ['PATH']}"  # its own Erlang first, where it has one
_START_S = 60


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RabbitServer:
    """One node: started, killed and started again with what it had on disk."""

    def __init__(self, root: Path) -> None:
        self.port = free_port()
        self._root, self._epmd_port = root, free_port()
        self._node: int | None = None
        self._epmd: int | None = None
        cookie = root / ".erlang.cookie"
        cookie.write_text(uuid.uuid4().hex)
        cookie.chmod(0o400)
        (root / "plugins").write_text("[].")
        none = str(root / "none")
        self._environment = {
            "PATH": _PATH, "HOME": str(root), "LANG": "C.UTF-8",
            "RABBITMQ_NODENAME": f"tengine{uuid.uuid4().hex[:12]}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1", "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()), "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_MNESIA_BASE": str(root / "mnesia"), "RABBITMQ_LOG_BASE": str(root), "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(root / "pid"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(root / "plugins"),
            "RABBITMQ_CONFIG_FILE": none, "RABBITMQ_ADVANCED_CONFIG_FILE": none, "RABBITMQ_CONF_ENV_FILE": none,
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none +S 1:1",
        }  # fmt: skip

    def url(self, prefix: str | None = None, **more: str) -> str:
        """Where it is; each prefix is an installation of its own."""
        query = "&".join(f"{name}={value}" for name, value in {"prefix": prefix or unique_prefix(), **more}.items())
        return f"amqp://guest:guest@127.0.0.1:{self.port}/?{query}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        if self._epmd is None:
            self._epmd = self._spawn("epmd")
        self._node = self._spawn(str(_SERVER))
        deadline = time.monotonic() + _START_S
        while not self._listens():
            if not is_alive(self._node) or time.monotonic() > deadline:
                raise RuntimeError(f"RabbitMQ did not start: {(self._root / 'output').read_text()[-2000:]}")
            time.sleep(0.1)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it: by SIGKILL as a power failure would, by SIGTERM in order."""
        if self._node is not None:
            end_session(self._node, number)
            self._node = None

    def stop(self) -> None:
        """End it with its port mapper."""
        self.kill()
        if self._epmd is not None:
            end_session(self._epmd, signal.SIGKILL)

    def _spawn(self, program: str) -> int:
        return spawn_apart([program], self._root, self._environment)

    async def control(self, *command: str) -> str:
        """What `rabbitmqctl` answers."""
        process = await asyncio.create_subprocess_exec(
            str(_CONTROL),
            *command,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        output, _ = await asyncio.wait_for(process.communicate(), _START_S)
        assert process.returncode == 0, output.decode()
        return output.decode()

    async def listen_with_tls(self, certificate: Path) -> int:
        """Listen with TLS too, with a file of key and certificate; the port."""
        port, file = free_port(), str(certificate)
        options = f'[{{certfile, "{file}"}}, {{keyfile, "{file}"}}]'
        listener = f'{{"127.0.0.1", {port}, inet}}'
        await self.control("eval", f"ok = rabbit_networking:start_ssl_listener({listener}, {options}, 1).")
        return port

    def _listens(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def unique_prefix() -> str:
    """A prefix that no other test has."""
    return f"t{uuid.uuid4().hex[:12]}"


@contextmanager
def running_rabbitmq(root: Path) -> Iterator[RabbitServer]:
    """A private RabbitMQ with its files in a directory of its own, gone at the end."""
    missing = not _SERVER.exists() or shutil.which("epmd", path=_PATH) is None
    require_service("RabbitMQ", "it is not installed: apt-get install rabbitmq-server" if missing else None)
    root.mkdir(parents=True, exist_ok=True)
    server = RabbitServer(root)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """A private RabbitMQ, one for the whole run."""
    with running_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server
