"""An Azurite of the tests' own, which speaks Azure Blob Storage: on a free port, in a temporary directory, from npm."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest
from filelock import FileLock

from tests.support.rabbitmq import free_port
from tests.support.services import end_session, is_alive, require_service, spawn_apart

_FOLDER = Path(__file__).parent / "azurite"
_ACCOUNT = "devstoreaccount1"
_KEY = base64.b64encode(b"the key of the tests, which is long enough").decode()
_START_S = 60


class AzureServer:
    """One server and its container."""

    container = "media"

    def __init__(self, root: Path) -> None:
        self.port = free_port()
        self._root = root
        self._process: int | None = None

    @property
    def endpoint(self) -> str:
        """Where its account is."""
        return f"http://127.0.0.1:{self.port}/{_ACCOUNT}"

    def settings(self) -> dict[str, Any]:
        """A storage of it as the configuration has one; it is empty at first."""
        return {
            "kind": "azure", "url": f"azure://{self.container}/{uuid.uuid4().hex}",
            "credentials": {"account_key": _KEY}, "options": {"account_name": _ACCOUNT, "endpoint": self.endpoint},
        }  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it has its container."""
        argv = [
            "node", str(_FOLDER / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"),
            "--blobHost", "127.0.0.1", "--blobPort", str(self.port), "--location", str(self._root), "--silent",
            "--disableProductStyleUrl", "--skipApiVersionCheck", "--disableTelemetry",
        ]  # fmt: skip
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._root), "AZURITE_ACCOUNTS": f"{_ACCOUNT}:{_KEY}"}
        self._process = spawn_apart(argv, self._root, environment)
        deadline = time.monotonic() + _START_S
        while not self._has_container():
            if not is_alive(self._process) or time.monotonic() > deadline:
                raise RuntimeError(f"Azurite did not start: {(self._root / 'output').read_text()[-2000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            end_session(self._process)

    def _has_container(self) -> bool:
        moment = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {"x-ms-date": moment, "x-ms-version": "2021-08-06", "Content-Length": "0"}
        place = f"/{_ACCOUNT}/{_ACCOUNT}/{self.container}\nrestype:container"
        text = "PUT" + "\n" * 12 + f"x-ms-date:{moment}\nx-ms-version:2021-08-06\n{place}"
        signature = hmac.new(base64.b64decode(_KEY), text.encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {_ACCOUNT}:{base64.b64encode(signature).decode()}"
        url = f"{self.endpoint}/{self.container}?restype=container"
        try:
            with urlopen(Request(url, method="PUT", headers=headers), timeout=10):
                return True
        except (HTTPError, URLError, OSError) as error:
            if isinstance(error, HTTPError) and error.code != 409:
                raise
            return isinstance(error, HTTPError)


def _installed() -> None:
    """What the lock file names, into a folder that git passes over; once for each version of it."""
    require_service(
        "Azurite", None if shutil.which("node") and shutil.which("npm") else "node and npm are not installed"
    )
    lock, stamp = (_FOLDER / "package-lock.json").read_text(), _FOLDER / "node_modules" / ".stamp"
    with FileLock(_FOLDER / ".lock"):
        if stamp.exists() and stamp.read_text() == hashlib.sha256(lock.encode()).hexdigest():
            return
        done = subprocess.run(
            ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=_FOLDER, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        require_service("Azurite", f"npm cannot install it: {done.stderr[-200:]}" if done.returncode else None)
        stamp.write_text(hashlib.sha256(lock.encode()).hexdigest())


@pytest.fixture(scope="session")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzureServer]:
    """A private Azurite, one for the whole run."""
    _installed()
    server = AzureServer(tmp_path_factory.mktemp("azurite"))
    try:
        server.start()
        yield server
    finally:
        server.stop()
