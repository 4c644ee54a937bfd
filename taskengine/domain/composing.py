"""What is sent of a callback: its body and headers, as the workflow and the client want them beside what is published."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from taskengine.domain.callback_config import header_fault
from taskengine.domain.errors import ExpressionError
from taskengine.domain.job import PATIENCE_MS
from taskengine.domain.masking import MASK
from taskengine.domain.planning import Evaluate
from taskengine.domain.sealed import as_text, is_sealed, veiled

MAX_BODY = 1024 * 1024  # characters of a body that a template made


def everything(_endpoint: str, _event: str) -> bool:
    """An endpoint that wants every event."""
    return True


@dataclass(frozen=True, slots=True)
class CallbackRules:
    """How a job's callbacks look. Kinds are `task` and `job`; templates see the job's scope, `callback` (the published
    body) and, of a task, `task`."""

    ids: str = "number"
    extra_fields: bool = True
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # kind → templates of further fields
    templates: Mapping[str, Any] = field(default_factory=dict)  # kind → a template in the published body's place
    headers: Mapping[str, Any] = field(default_factory=dict)  # templates
    wants: Callable[[str, str], bool] = everything  # (endpoint, event)
    patience_ms: int = PATIENCE_MS


@dataclass(frozen=True, slots=True)
class Composed:
    """A body and headers as they are sent; `faults`: what could not be as it was wanted."""

    text: str
    headers: Mapping[str, str]
    faults: Sequence[str] = ()


def compose(
    rules: CallbackRules, kind: str, body: Mapping[str, Any], scope: Callable[[], Mapping[str, Any]], evaluate: Evaluate
) -> Composed:
    """A callback is never lost to a template: what cannot be evaluated is left out, and the published body sent."""
    return _Composing(rules, kind, body, scope, evaluate).composed()


class _Composing:
    def __init__(
        self,
        rules: CallbackRules,
        kind: str,
        body: Mapping[str, Any],
        scope: Callable[[], Mapping[str, Any]],
        evaluate: Evaluate,
    ) -> None:
        self._rules, self._kind, self._body = rules, kind, body
        self._make_scope, self._evaluate = scope, evaluate
        self._faults: list[str] = []

    def composed(self) -> Composed:
        text = self._templated() or json.dumps(self._body, separators=(",", ":"))  # ASCII: half surrogates are in names
        return Composed(text, self._headers(), tuple(self._faults))

    @cached_property
    def _scope(self) -> Mapping[str, Any]:
        return {**self._make_scope(), "callback": self._body}

    def _templated(self) -> str:
        """The body that templates make; "" where there are none, or they fail."""
        rules, kind = self._rules, self._kind
        try:
            if kind in rules.templates:
                return _bounded(self._shown(rules.templates[kind]))
            if added := rules.fields.get(kind):
                fields = {name: value for name, value in added.items() if name not in self._body}
                return _bounded({**self._body, **self._shown(fields)})
        except ExpressionError as error:
            self._faults.append(f"the published body is sent: the one that is configured failed: {error}")
        return ""

    def _shown(self, template: Any) -> Any:
        """What a template gives for a body, which has no secrets."""
        return veiled(self._evaluate(template, self._scope), MASK)

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for name, template in self._rules.headers.items():
            try:
                value = self._evaluate(template, self._scope)
            except ExpressionError as error:
                self._faults.append(f"the header {name} is not sent: {error}")
                continue
            if is_sealed(value):  # it is opened when the callback is sent
                value = as_text(value)
            value = value if isinstance(value, str) else json.dumps(value)
            if fault := header_fault(name, value):
                self._faults.append(f"the header {name} is not sent: it {fault}")
            else:
                headers[name] = value
        return headers


def _bounded(value: Any) -> str:
    """JSON text; ExpressionError as soon as it is too long."""
    pieces, size = [], 0
    for piece in json.JSONEncoder(separators=(",", ":")).iterencode(value):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY:
            raise ExpressionError(f"the body would be more than {MAX_BODY} characters long")
    return "".join(pieces)
