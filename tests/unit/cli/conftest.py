from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import Cli, FakeEngine, fake_engine


@pytest.fixture(autouse=True)
def _no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable and no file of the machine says anything to the commands."""
    for name in list(os.environ):
        if name.startswith(("TASKENGINE_", "DATABASE_URL", "AMQP_URL", "LOG_LEVEL")) or name == "PORT":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command line."""
    return Cli(capsys)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    """An engine that the commands find by their environment."""
    with fake_engine() as fake:
        monkeypatch.setenv("TASKENGINE_URL", fake.url)
        monkeypatch.setenv("TASKENGINE_API_KEY", "key-of-the-test")
        yield fake
