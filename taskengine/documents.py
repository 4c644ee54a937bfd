"""YAML 1.2 documents with the line of every key, bounded in size, depth and aliases. Duplicate keys are refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from yamlcore import CCoreLoader

from taskengine.domain.errors import Fault

MAX_BYTES = 256 * 1024
MAX_DEPTH = 40
MAX_NODES = 20_000  # aliases counted each time

Path = tuple[str | int, ...]


@dataclass(slots=True)
class Document:
    """What a file says, and where it says it."""

    file: str
    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line(self, path: Sequence[str | int]) -> int:
        """The line of a path, or of the nearest thing around it that the file has."""
        parts = tuple(path)
        while parts and parts not in self.lines:
            parts = parts[:-1]
        return self.lines.get(parts, 1)

    def fault(self, path: Sequence[str | int], message: str) -> Fault:
        """A fault of a path: `file:line`."""
        return Fault(f"{self.file}:{self.line(path)}", message)


def parse(text: str, file: str) -> Document:
    """Read one document. What is wrong with it as YAML is in its `faults`."""
    document = Document(file)
    if len(text.encode(errors="replace")) > MAX_BYTES:
        document.faults.append(Fault(f"{file}:1", f"the file is over {MAX_BYTES // 1024} KiB"))
        return document
    try:
        if (line := _too_deep(text)) is not None:
            document.faults.append(Fault(f"{file}:{line}", f"nested more than {MAX_DEPTH} levels deep"))
            return document
        node = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        document.faults.append(Fault(f"{file}:{_line(mark)}", f"no YAML: {message}"))
    except (yaml.YAMLError, UnicodeError) as error:
        document.faults.append(Fault(f"{file}:1", f"no YAML: {str(error).splitlines()[0]}"))
    else:
        if node is not None:
            document.value = _Reader(document).read(node, (), 0)
    return document


def _too_deep(text: str) -> int | None:
    """The line where nesting goes too deep, found without recursion; None where it does not."""
    depth = 0
    for event in yaml.parse(text, Loader=CCoreLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return _line(event.start_mark)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _line(mark: Any) -> int:
    """1-based; the C parser's marks and Python's have no type in common."""
    return mark.line + 1 if mark else 1


def _compose(text: str) -> yaml.Node | None:
    return yaml.compose(text, Loader=CCoreLoader)


class _Reader:
    """Builds plain values from nodes and notes lines."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._loader = CCoreLoader("")
        self._nodes = 0

    def read(self, node: yaml.Node, path: Path, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            if self._nodes <= MAX_NODES + 1:
                self._nodes = MAX_NODES + 1
                self._fault(node, f"too large with its aliases: at most {MAX_NODES} values, {MAX_DEPTH} levels")
            return None
        self._document.lines.setdefault(path, _line(node.start_mark))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, number), depth + 1) for number, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                self._fault(key_node, "a key must be a string")
            elif key in result:
                self._fault(key_node, f"the key {key!r} is here twice")
            else:
                self._document.lines[*path, key] = _line(key_node.start_mark)
                result[key] = self.read(value_node, (*path, key), depth + 1)
        return result

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            value = self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error)
            self._fault(node, f"not a value: {problem}")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self._fault(node, f"not a finite number: {value}")
            return None
        if value is None or isinstance(value, str | bool | int | float):
            return value
        self._fault(node, f"not a value of JSON: {node.tag}")
        return None

    def _fault(self, node: yaml.Node, message: str) -> None:
        self._document.faults.append(Fault(f"{self._document.file}:{_line(node.start_mark)}", message))
