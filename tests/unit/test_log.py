"""Logging: one formatter for all that is logged, and no secrets in it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from taskengine import log


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """What was logged as JSON."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_events_and_records_of_libraries_are_lines_of_the_same_form() -> None:
    """structlog and logging end in one formatter; off a terminal it is JSON."""
    stream = io.StringIO()
    log.configure("info", stream=stream)

    structlog.get_logger("ours").info("job_accepted", job=7)
    logging.getLogger("theirs").warning("%d left", 3)

    first, second = lines(stream)
    assert (first["event"], first["job"], first["logger"], first["level"]) == ("job_accepted", 7, "ours", "info")
    assert (second["event"], second["logger"], second["level"]) == ("3 left", "theirs", "warning")
    assert first["timestamp"].endswith("Z")


def test_what_is_below_the_level_is_not_logged() -> None:
    """The level holds for events and records."""
    stream = io.StringIO()
    log.configure("warning", stream=stream)

    structlog.get_logger("ours").info("no")
    logging.getLogger("theirs").info("no")

    assert stream.getvalue() == ""


def test_bound_context_is_on_every_line() -> None:
    """What is bound for a job or an attempt comes along."""
    stream = io.StringIO()
    log.configure("info", stream=stream)

    with structlog.contextvars.bound_contextvars(job=5):
        structlog.get_logger("ours").info("started")

    assert lines(stream)[0]["job"] == 5


@pytest.mark.parametrize("form", ["json", "console"])
def test_secrets_are_masked(form: str) -> None:
    """Values under secret names and passwords in URLs are never written, in tracebacks neither."""
    stream = io.StringIO()
    log.configure("info", form, stream=stream, color=False)
    logger = structlog.get_logger("ours")

    logger.info("one", api_key="hidden", config={"Password": "hidden"}, url="amqp://user:hidden@mq/")
    try:
        raise ValueError("cannot reach postgresql://user:hidden@db/x")
    except ValueError:
        logger.exception("two")

    assert "hidden" not in stream.getvalue()
    assert "postgresql://user:***@db/x" in stream.getvalue()


def test_the_console_is_plain_where_colours_are_not_wanted() -> None:
    """No escape sequence reaches a file or a terminal that asked for none."""
    stream = io.StringIO()
    log.configure("info", "console", stream=stream, color=False)

    structlog.get_logger("ours").info("job_accepted", job=7)

    assert "job_accepted" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
