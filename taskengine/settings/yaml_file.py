"""Reads a YAML file as a mapping: YAML 1.2 core schema, no name twice."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from yamlcore import CoreLoader


class YamlFault(ValueError):
    """The file cannot be read or is no mapping; the message says where and why."""


class _Loader(CoreLoader):  # type: ignore[misc] # yamlcore carries no types
    """Refuses a name that is given twice: the first would silently be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """A mapping, each of whose names is there once."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def read_yaml(path: Path) -> Mapping[str, Any]:
    """The file's mapping; an empty file is an empty one."""
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - made of the safe constructor
    except OSError as error:
        raise YamlFault(f"cannot be read: {os.strerror(error.errno or 0)}") from error
    except UnicodeDecodeError as error:
        raise YamlFault("is not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise YamlFault(f"{line}{error.problem}") from error
    except yaml.YAMLError as error:
        raise YamlFault(str(error).splitlines()[0]) from error
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise YamlFault("must be a mapping of settings")
    return tree
