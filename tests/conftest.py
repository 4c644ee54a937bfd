"""What all tests have in common: a clean environment, and a loud word on what did not run."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from typing import Any

import pytest
import structlog
from hypothesis import settings

from tests.support.azure import azure
from tests.support.postgres import postgres
from tests.support.rabbitmq import rabbitmq
from tests.support.seaweedfs import s3
from tests.support.services import MISSING

__all__ = ["azure", "postgres", "rabbitmq", "s3"]

settings.register_profile("project", deadline=None)  # how long an example takes is the machine's, not the code's
settings.load_profile("project")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it for what it starts in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine's configures what a test runs."""
    for name in [name for name in os.environ if name.startswith("TASKENGINE_")]:
        monkeypatch.delenv(name)
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_STORAGE_"))]:
        monkeypatch.delenv(name)
    for name in ("DATABASE_URL", "AMQP_URL", "PORT", "LOG_LEVEL", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def clean_log(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """How one test sets up the log, and what it binds to its context, is not the next one's: no logger is cached."""
    configure = structlog.configure

    def uncached(**options: Any) -> None:
        configure(**{**options, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", uncached)
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take long go first, so that no process works alone at the end: few tests with many waits."""
    items.sort(key=lambda item: "acceptance" not in item.path.parts)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI says that all services are there, a missing one is a failure."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and MISSING in _reason(report):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: {_reason(report)} (with CI=true, this is a failure)"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what did not run, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section(f"NOT RUN: {len(skipped)}", sep="!", yellow=True, bold=True)
    reasons: dict[str, int] = {}
    for report in skipped:
        reasons[_reason(report)] = reasons.get(_reason(report), 0) + 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} × {reason}")


def _reason(report: pytest.TestReport) -> str:
    return str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr).removeprefix("Skipped: ")
