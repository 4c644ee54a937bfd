"""What everything else is given: time, secrets, expressions, schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from taskengine.domain.errors import Fault


class Clock(Protocol):
    """The engine's time, so that tests can move it."""

    def now(self) -> int:
        """UTC milliseconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait; a moved clock wakes whoever is due."""
        ...


class Sealer(Protocol):
    """Seals secrets with an installation's key, so that they may lie in its database and pass through its broker.

    The same secret of the same owner gives the same text, so that what is sealed can be compared.
    """

    def seal(self, secret: str, owner: str) -> str:
        """`<key id>.<text>`. Raises SecretUnavailable where there is no key."""
        ...

    def open(self, text: str, owner: str) -> str:
        """The secret that `seal` was given with this owner. Raises SecretUnavailable: its key is not here, it is
        damaged, or another owner's."""
        ...


class Evaluator(Protocol):
    """Expressions in `${{ }}`: typed, sandboxed, bounded."""

    def evaluate(self, template: Any, scope: Mapping[str, Any]) -> Any:
        """Resolve every expression in `template` (nested lists and mappings too).

        A string that is one expression alone keeps the type of its value. Raises ExpressionError.
        """
        ...

    def check(self, template: Any) -> list[str]:
        """Every fault of the expressions in `template` that can be known without a scope (they do not parse, …)."""
        ...

    def references(self, template: Any) -> set[tuple[str, ...]]:
        """The dotted names that `template` uses, e.g. ("steps", "probe", "outputs", "path"), ("parameters", "source")."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """Parameters judged by a schema: `arguments` are typed and carry the static defaults."""

    arguments: dict[str, Any]
    faults: Sequence[Fault] = ()
    warnings: Sequence[str] = ()


class ParameterSchema(Protocol):
    """A compiled JSON Schema of a workflow's parameters."""

    def check(self, parameters: Mapping[str, Any], *, strict: bool) -> Checked:
        """Coerce, default and judge: all faults at once.

        `strict`: an unknown parameter is a fault, else a warning that names the nearest known one. A null counts as
        not given. Fault paths start with `/parameters`.
        """
        ...
