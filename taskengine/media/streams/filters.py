"""Which renditions of a stream a client wants: expressions such as `type=="video"&&systemBitrate<2000000`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from taskengine.media.languages import tag_of
from taskengine.media.roles import role_of
from taskengine.media.streams.model import Rendition
from taskengine.media.tracks import TrackKind

MAX_LENGTH = 4_096
_MOST_NESTED = 64
_TOKEN = re.compile(
    r"""\s*(?:(&&|\|\||[=!<>]=|[<>!()])|"([^"]*)"|'([^']*)'|(\d+(?:\.\d+)?)|([A-Za-z_]\w*)|(\S))""", re.ASCII
)
_COMPARED: Mapping[str, Callable[[float, float], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_KINDS = {TrackKind.VIDEO: {"video"}, TrackKind.AUDIO: {"audio"}, TrackKind.TEXT: {"text", "textstream", "subtitle"}}
_SAME_CODES = ({"h264", "avc1", "avc3"}, {"hevc", "hvc1", "hev1", "h265"}, {"aacl", "aach", "mp4a", "aac"},
               {"ec-3", "eac3"}, {"ac-3", "ac3"}, {"av1", "av01"})  # fmt: skip
_NUMBERS: Mapping[str, Callable[[Rendition], float]] = {
    "systembitrate": lambda each: each.bandwidth, "width": lambda each: each.width, "height": lambda each: each.height,
    "displaywidth": lambda each: each.width, "displayheight": lambda each: each.height,
}  # fmt: skip

Judge = Callable[[Rendition], bool]


class FilterFault(ValueError):
    """An expression that is none: what is wrong and at which character (from 1)."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # operator, text, number, name
    value: str
    place: int


def parse(text: str) -> Judge:
    """The judge that an expression is. Raises FilterFault.

    What a manifest does not tell of a rendition (a width of sound, the bit rate of an HLS rendition of sound) is unequal to
    everything, neither less nor more.
    """
    if len(text) > MAX_LENGTH:
        raise FilterFault(f"it is longer than {MAX_LENGTH:,} characters")
    parser = _Parser(list(_tokens(text)), len(text) + 1)
    judge = parser.either(0)
    parser.end()
    return judge


def _tokens(text: str) -> Sequence[_Token]:
    found: list[_Token] = []
    for match in _TOKEN.finditer(text.rstrip()):
        kinds = ("operator", "text", "text", "number", "name", "wrong")
        kind, value = next(
            (kind, value) for kind, value in zip(kinds, match.groups(), strict=True) if value is not None
        )
        place = match.end() - len(match[0].lstrip()) + 1
        if kind == "wrong":
            raise FilterFault(f"character {place}: {value!r} is not understood")
        found.append(_Token(kind, value, place))
    return found


class _Parser:
    """`||` binds least, then `&&`, then `!`; parentheses group."""

    def __init__(self, tokens: Sequence[_Token], after: int) -> None:
        self._tokens, self._place, self._after = tokens, 0, after

    def either(self, depth: int) -> Judge:
        """Terms joined by `||`."""
        judges = [self._both(depth)]
        while self._taken("||"):
            judges.append(self._both(depth))
        return judges[0] if len(judges) == 1 else lambda each: any(judge(each) for judge in judges)

    def end(self) -> None:
        """Nothing follows."""
        token = self._peek()
        if token is not None:
            raise FilterFault(f"character {token.place}: {token.value!r} is not expected; expected && or ||")

    def _both(self, depth: int) -> Judge:
        judges = [self._one(depth)]
        while self._taken("&&"):
            judges.append(self._one(depth))
        return judges[0] if len(judges) == 1 else lambda each: all(judge(each) for judge in judges)

    def _one(self, depth: int) -> Judge:
        if depth > _MOST_NESTED:
            raise FilterFault(f"it is nested more than {_MOST_NESTED} times")
        if self._taken("!"):
            judge = self._one(depth + 1)
            return lambda each: not judge(each)
        if self._taken("("):
            judge = self.either(depth + 1)
            if not self._taken(")"):
                raise self._fault("expected )")
            return judge
        return self._comparison()

    def _comparison(self) -> Judge:
        name = self._next("name", f"expected a field: {', '.join(_FIELDS)}")
        field = name.value.lower()
        if field not in {known.lower() for known in _FIELDS}:
            raise FilterFault(
                f"character {name.place}: there is no field {name.value!r}; there are {', '.join(_FIELDS)}"
            )
        sign = self._next("operator", "expected one of == != < <= > >=")
        if sign.value not in _COMPARED:
            raise FilterFault(f"character {sign.place}: expected one of == != < <= > >=, not {sign.value!r}")
        return self._judge(field, sign)

    def _judge(self, field: str, sign: _Token) -> Judge:
        token = self._peek()
        if token is None or token.kind not in {"text", "number", "name"}:
            raise self._fault("expected a value")
        self._place += 1
        if field in _NUMBERS:
            return _number(field, sign.value, token)
        if sign.value not in {"==", "!="}:
            raise FilterFault(f"character {sign.place}: {field} is a text: expected == or !=, not {sign.value!r}")
        wanted, same = token.value, sign.value == "=="
        return lambda each: _is(each, field, wanted) is same

    def _peek(self) -> _Token | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

    def _taken(self, sign: str) -> bool:
        token = self._peek()
        if token is None or token.kind != "operator" or token.value != sign:
            return False
        self._place += 1
        return True

    def _next(self, kind: str, expected: str) -> _Token:
        token = self._peek()
        if token is None or token.kind != kind:
            raise self._fault(expected)
        self._place += 1
        return token

    def _fault(self, expected: str) -> FilterFault:
        token = self._peek()
        return FilterFault(f"character {token.place if token else self._after}: {expected}")


_FIELDS = (
    "type", "systemBitrate", "systemLanguage", "FourCC", "width", "height", "DisplayWidth", "DisplayHeight", "role", "name",
)  # fmt: skip


def _number(field: str, sign: str, token: _Token) -> Judge:
    try:
        wanted = float(token.value)
    except ValueError:
        raise FilterFault(f"character {token.place}: {field} is a number, {token.value!r} is none") from None
    compared, told = _COMPARED[sign], _NUMBERS[field]

    def judge(each: Rendition) -> bool:
        value = told(each)
        return compared(value, wanted) if value else sign == "!="

    return judge


def _is(each: Rendition, field: str, wanted: str) -> bool:
    """Whether a text of a rendition is what is wanted, without case."""
    lowered = wanted.strip().lower()
    if field == "type":
        return lowered in _KINDS[each.kind]
    if field == "systemlanguage":
        return (tag_of(lowered) or lowered) == (tag_of(each.language) or each.language.lower())
    if field == "role":
        return (role_of(lowered) or lowered) == (each.role or "main")
    if field == "fourcc":
        codes = {code.strip().partition(".")[0].lower() for code in each.codecs.split(",")}
        alike = next((group for group in _SAME_CODES if lowered in group), {lowered})
        return bool(codes & alike)
    return lowered == (each.name or each.id).lower()
