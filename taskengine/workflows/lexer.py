"""The surface of templates and of CEL: where an expression ends, which names it uses, how deep it nests.

The grammar itself is the CEL library's; this reads no more than tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_PLAIN_STRING = re.compile(r""""[^"\\]+"|'[^'\\]+'""")
_LITERALS = frozenset({"true", "false", "null", "in"})
_TOKEN = re.compile(
    r"""
      (?P<space>\s+|//[^\n]*)
    | (?P<string>(?:[rR][bB]?|[bB][rR]?)?(?:\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''))
    | (?P<raw>(?:[rR][bB]?|[bB][rR])(?:"[^"\n]*"|'[^'\n]*'))
    | (?P<text>[bB]?(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    | (?P<number>\d[\w.]*)
    | (?P<name>[A-Za-z_]\w*)
    | (?P<mark>[\s\S])
    """,
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an expression; `kind` is string, number, name or mark."""

    kind: str
    text: str
    end: int


def tokens(source: str, start: int = 0) -> Iterator[Token]:
    """The tokens of `source` from `start`, without spaces and comments. Never raises: odd characters are marks."""
    position = start
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:  # cannot be: the last alternative takes any character
            return
        position = match.end()
        kind = match.lastgroup or "mark"
        if kind != "space":
            yield Token("string" if kind in {"raw", "text"} else kind, match[0], position)


def split(text: str) -> list[tuple[bool, str]]:
    """The parts of a template: (whether it is an expression, its text). `$${{` is text. Raises ValueError if unclosed."""
    parts: list[tuple[bool, str]] = []
    literal = ""
    position = 0
    while (found := text.find("${{", position)) >= 0:
        if found > position and text[found - 1] == "$":
            literal += text[position : found - 1] + "${{"
            position = found + 3
            continue
        literal += text[position:found]
        if literal:
            parts.append((False, literal))
            literal = ""
        end = _expression_end(text, found + 3)
        parts.append((True, text[found + 3 : end]))
        position = end + 2
    literal += text[position:]
    if literal or not parts:
        parts.append((False, literal))
    return parts


def _expression_end(text: str, start: int) -> int:
    depth = 0
    for token in tokens(text, start):
        if token.kind != "mark":
            continue
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            if depth == 0 and text.startswith("}", token.end):
                return token.end - 1
            depth = max(0, depth - 1)
    raise ValueError(f"an expression is not closed by }}}}: {text[start - 3 : start + 40]!r}")


@dataclass(slots=True)
class Surface:
    """What can be seen of an expression without parsing it."""

    references: set[tuple[str, ...]] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    macro_depth: int = 0
    macro_count: int = 0


@dataclass(slots=True)
class _Frame:
    """An open bracket: of a macro where it binds a name."""

    bound: str | None = None
    macro: bool = False


def surface(source: str) -> Surface:
    """The names, functions and macros that an expression uses."""
    return _Reader(list(tokens(source))).read()


class _Reader:
    """Walks the tokens once, with a stack of open brackets for the names that macros bind."""

    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._stack: list[_Frame] = []
        self._result = Surface()

    def read(self) -> Surface:
        position = 0
        while position < len(self._tokens):
            token = self._tokens[position]
            if token.kind == "name":
                position = self._name(position)
                continue
            if token.kind == "mark":
                self._bracket(token.text)
            position += 1
        return self._result

    def _text(self, position: int, kind: str = "mark") -> str:
        if 0 <= position < len(self._tokens) and self._tokens[position].kind == kind:
            return self._tokens[position].text
        return ""

    def _bracket(self, text: str) -> None:
        if text in "([{":
            self._stack.append(_Frame())
        elif text in ")]}" and self._stack:
            self._stack.pop()

    def _name(self, position: int) -> int:
        """Take a name with its members; the position after it."""
        name = self._tokens[position].text
        if self._text(position + 1) == "(":
            return self._call(name, position, member=self._text(position - 1) == ".")
        if self._text(position - 1) == ".":  # a member of something that is no plain name: `f(x).y`
            return position + 1
        if name in _LITERALS or any(frame.bound == name for frame in self._stack):
            return self._skip_members(position + 1)
        path = [name]
        position += 1
        while (step := self._member(position)) is not None:
            member, position = step
            path.append(member)
        self._result.references.add(tuple(path))
        return position

    def _skip_members(self, position: int) -> int:
        while (step := self._member(position)) is not None:
            position = step[1]
        return position

    def _member(self, position: int) -> tuple[str, int] | None:
        """`.name` (no call) or `["name"]` at `position`: the member and the position after it."""
        if self._text(position) == "." and (name := self._text(position + 1, "name")):
            return None if self._text(position + 2) == "(" else (name, position + 2)
        text = self._text(position + 1, "string")
        if self._text(position) == "[" and self._text(position + 2) == "]" and _PLAIN_STRING.fullmatch(text):
            return text[1:-1], position + 3
        return None

    def _call(self, name: str, position: int, *, member: bool) -> int:
        if not (member and name in MACROS):
            self._result.functions.add(name)
            return position + 1  # its bracket is next
        bound = self._text(position + 2, "name") if self._text(position + 3) == "," else None
        self._stack.append(_Frame(bound=bound, macro=True))
        self._result.macro_count += 1
        depth = sum(frame.macro for frame in self._stack)
        self._result.macro_depth = max(self._result.macro_depth, depth)
        return position + (4 if bound else 2)
