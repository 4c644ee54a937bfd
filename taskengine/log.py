"""Logging: structlog's events and the standard library's records through one formatter to stderr."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_SECRET = re.compile(r"(?i)(password|passwd|secret|token|api[_-]?key|authorization|cookie|credential|content_key)")
_NOT_SECRET = frozenset({"token_count", "key_id"})
_URL_PASSWORD = re.compile(r"(://[^/@:\s]*):[^/@\s]+@")
_QUIET = ("aiohttp.access", "aiormq", "aio_pika", "asyncio")  # libraries that tell each step


def configure(
    level: str = "info",
    format: str = "auto",  # noqa: A002 - named as the setting is
    *,
    color: bool | None = None,
    stream: TextIO | None = None,
) -> None:
    """Send everything that is logged to `stream` (stderr), from `level` on, as `console` or `json` lines.

    `auto` is console on a terminal, else json. Values under secret names, and passwords in URLs, are masked.
    """
    out = stream or sys.stderr
    console = format == "console" or (format == "auto" and out.isatty())
    colors = (out.isatty() and not os.environ.get("NO_COLOR")) if color is None else color
    shared = _shared()
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=_rendering(console=console, colors=colors)
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)


def mask_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: what is under a secret's name becomes `***`."""
    return {key: _masked(key, value) for key, value in event.items()}


def _mask_passwords(_logger: WrappedLogger, _method: str, line: Any) -> str:
    """The last processor: the line without passwords in URLs, wherever they came from (tracebacks, too)."""
    return _URL_PASSWORD.sub(r"\1:***@", line)


def _masked(key: object, value: object) -> object:
    if isinstance(key, str) and _SECRET.search(key) and key not in _NOT_SECRET and value is not None:
        return "***"
    if isinstance(value, Mapping):
        return {name: _masked(name, inner) for name, inner in value.items()}
    return value


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _rendering(*, console: bool, colors: bool) -> list[Processor]:
    first: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, mask_secrets]
    if console:
        plain = structlog.dev.plain_traceback
        return [*first, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain), _mask_passwords]
    return [
        *first,
        structlog.processors.format_exc_info,
        structlog.processors.UnicodeDecoder(),
        structlog.processors.JSONRenderer(default=str),
        _mask_passwords,
    ]
