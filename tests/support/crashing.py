"""The product, killed at a named point: `CRASH_AT=<point> CRASH_ON=<n> python -m tests.support.crashing serve …`.

A point is `<before|after> <write>` or `<before|after> <publish>`. Writes are the methods of the store's units that open a
writing transaction, publishes the places that hand messages to the broker; both are read off the code, so that a new one
is a new point. The process ends by SIGKILL when it comes there for the n-th time. Nothing of it is in the product.
"""

from __future__ import annotations

import ast
import functools
import importlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import taskengine
from taskengine.brokers.rabbitmq import RabbitBroker
from taskengine.engine import janitor

_CODE = Path(taskengine.__file__).parent
_WHEN = ("before", "after")
_ROUND_S = 2.0  # so that clean-up comes round while somebody waits for it


def points() -> list[str]:
    """Every point of the code as it is."""
    names = [f"store.{name}" for _, _, name in writes()] + publishes()
    return [f"{when} {name}" for name in names for when in _WHEN]


def writes() -> list[tuple[str, str, str]]:
    """(module, class, method) of every unit of work that writes."""
    found = []
    for path in sorted((_CODE / "stores").glob("*.py")):
        for kind in ast.parse(path.read_text()).body:
            if isinstance(kind, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "Units" for b in kind.bases):
                found += [(f"taskengine.stores.{path.stem}", kind.name, name) for name in _writing(kind)]
    return found


def _writing(kind: ast.ClassDef) -> Iterator[str]:
    ways = ["_write", "_write_apart", *_gathered(kind)]
    for method in kind.body:
        if not isinstance(method, ast.AsyncFunctionDef) or method.name.startswith("_"):
            continue
        if any(isinstance(node, ast.Attribute) and node.attr in ways for node in ast.walk(method)):
            yield method.name


def _gathered(kind: ast.ClassDef) -> Iterator[str]:
    """The attributes of a class through which calls are written together."""
    for node in ast.walk(kind):
        made = node.value.func if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) else None
        if isinstance(node, ast.Assign) and isinstance(made, ast.Name) and made.id == "Gathered":
            yield from (target.attr for target in node.targets if isinstance(target, ast.Attribute))


def publishes() -> list[str]:
    """`<module>.<function>` of every place that publishes."""
    found = []
    for folder in ("engine", "api"):
        for path in sorted((_CODE / folder).glob("*.py")):
            found += [
                f"{path.stem}.{node.name}"
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.AsyncFunctionDef) and _calls(node, "publish", of=("_broker", "broker"))
            ]
    return found


def _calls(function: ast.AsyncFunctionDef, name: str, of: tuple[str, ...] | None = None) -> bool:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
            owner = node.func.value
            if of is None or (isinstance(owner, ast.Attribute) and owner.attr in of):
                return True
    return False


class _Trap:
    def __init__(self, point: str, on: int) -> None:
        self._point, self._left = point, on

    def passing(self, point: str) -> None:
        """End the process where this is the point, for the n-th time."""
        if point == self._point:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    async def around(self, name: str, call: Awaitable[Any]) -> Any:
        """Await a call whose beginning and end are points."""
        self.passing(f"before {name}")
        answer = await call
        self.passing(f"after {name}")
        return answer


def set_trap(point: str, on: int) -> None:
    """Patch the units of the store and the broker's `publish`."""
    trap = _Trap(point, on)
    janitor.ROUND_S = _ROUND_S
    for module, kind, method in writes():
        _wrap(getattr(importlib.import_module(module), kind), method, _named(method), trap)
    _wrap(RabbitBroker, "publish", lambda frame: f"{Path(frame.f_code.co_filename).stem}.{frame.f_code.co_name}", trap)


def _named(name: str) -> Callable[[Any], str]:
    return lambda _: f"store.{name}"


def _wrap(kind: type, method: str, name_of: Callable[[Any], str], trap: _Trap) -> None:
    real = getattr(kind, method)

    @functools.wraps(real)
    def call(*given: Any, **named: Any) -> Awaitable[Any]:
        return trap.around(name_of(sys._getframe(1)), real(*given, **named))

    setattr(kind, method, call)


if __name__ == "__main__":
    if "CRASH_AT" in os.environ:
        set_trap(os.environ["CRASH_AT"], int(os.environ.get("CRASH_ON", "1")))
    from taskengine.cli import main

    main()
