"""Nothing but the guarded client opens a connection to a URL that a client gave: the tree is read for other ways."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# The guarded client itself, the client of the engine's own API, whose URL is its user's, and what asks the buckets of the
# configuration.
WAYS_OUT = ("taskengine/net/", "taskengine/client/", "taskengine/storage/uploads.py")
_MODULES = frozenset({
    "ftplib", "http.client", "httpx", "imaplib", "niquests", "paramiko", "poplib", "pycurl", "requests", "smtplib",
    "telnetlib", "urllib.request", "urllib3", "websockets", "xmlrpc.client",
})  # fmt: skip
_NAMES = frozenset({
    "ClientSession", "HTTPStore", "TCPConnector", "create_connection", "create_datagram_endpoint", "open_connection",
    "sock_connect", "urlopen", "urlretrieve", "ws_connect",
})  # fmt: skip
_OF_AIOHTTP = frozenset({"web", "typedefs", "BasicAuth"})  # for servers
_OF_SOCKET = frozenset({"gethostname"})


def ways_out(source: str) -> Iterator[str]:
    """What in a module can open a connection, with its line."""
    for node in ast.walk(ast.parse(source)):
        for name in _used(node):
            module, _, member = name.rpartition(".")
            if (
                any(name == one or name.startswith(f"{one}.") for one in _MODULES)
                or member in _NAMES
                or (module == "aiohttp" and member not in _OF_AIOHTTP)
                or (module == "socket" and member not in _OF_SOCKET)
            ):
                yield f"line {getattr(node, 'lineno', 0)}: {name}"


def _used(node: ast.AST) -> list[str]:
    """The dotted names that a node brings in or uses."""
    match node:
        case ast.Import(names):
            return [one.name for one in names]
        case ast.ImportFrom(module, names):
            return [f"{module}.{one.name}" for one in names]
        case ast.Attribute(ast.Name(owner), attribute):
            return [f"{owner}.{attribute}"]
        case ast.Attribute(_, attribute):
            return [f"?.{attribute}"]
        case ast.Name(name):
            return [f"?.{name}"]
        case _:
            return []


def test_no_other_module_opens_connections() -> None:
    """Every module of the package, its handlers and brokers."""
    modules = [path for folder in ("taskengine", "handlers", "brokers") for path in (ROOT / folder).rglob("*.py")]
    names = {path.relative_to(ROOT).as_posix(): path for path in modules}
    assert len(names) > 150
    found = {
        name: told
        for name, path in names.items()
        if not name.startswith(WAYS_OUT) and (told := list(ways_out(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "source",
    [
        "import requests", "import http.client", "from http import client", "from urllib.request import urlopen",
        "import urllib.request as r", "import aiohttp\naiohttp.request('GET', u)", "from aiohttp import ClientSession",
        "from aiohttp import request", "import socket\nsocket.create_connection(a)", "import socket\nsocket.socket()",
        "from socket import socket", "asyncio.open_connection(h, 80)", "loop.create_connection(f, h, 80)",
        "await self.loop.sock_connect(s, a)", "from obstore.store import HTTPStore",
    ],
)  # fmt: skip
def test_another_way_out_is_seen(source: str) -> None:
    """So that the check above can fail."""
    assert list(ways_out(source))


def test_servers_and_names_of_machines_are_no_way_out() -> None:
    """What the API and the worker use."""
    assert not list(ways_out("import socket\nfrom aiohttp import web\nsocket.gethostname()\nweb.Application()"))
