"""The validator of parameters: JSON Schema draft 2020-12, our formats, and one keyword more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from taskengine.domain.errors import InputFault
from taskengine.media.streams import marks
from taskengine.media.streams.model import StreamFault
from taskengine.workflows import formats
from taskengine.workflows.messages import show

IN_ORDER = "x-in-order"  # names of an object's times, each of which is later than the one before it


def validator(schema: Mapping[str, Any]) -> Any:
    """A validator of values by a schema, which must be valid."""
    return _VALIDATOR(dict(schema), format_checker=formats.checker())


def _in_order(_: Any, names: Sequence[str], instance: Any, __: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, Mapping):
        return
    for earlier, later in pairwise(names):
        begin, end = instance.get(earlier), instance.get(later)
        if not _is_after(begin, end):
            yield ValidationError(f"must be after {earlier}, {show(begin)}, not {show(end)}", path=[later])


def _is_after(begin: Any, end: Any) -> bool:
    """Also where it cannot be told: a time is not given, or is none (its format tells that)."""
    try:
        return marks.Window(marks.mark(begin, ""), marks.mark(end, "")).lasts
    except (InputFault, StreamFault):
        return True


_VALIDATOR = extend(Draft202012Validator, {IN_ORDER: _in_order})  # type: ignore[no-untyped-call] # the library has none
