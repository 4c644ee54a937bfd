"""CEA-708 captions: packets in the pictures, services in the packets, windows in the services.

What the visible windows of a service show becomes a cue when it changes. Colours, fonts and borders are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from taskengine.media.captions.cea608 import PAUSE_MS
from taskengine.media.captions.cues import Cue, escaped

_G2 = {0x20: " ", 0x21: "\u00a0", 0x25: "…", 0x2A: "Š", 0x2C: "Œ", 0x30: "█", 0x31: "‘", 0x32: "’", 0x33: "“",  # noqa: RUF001
       0x34: "”", 0x35: "•", 0x39: "™", 0x3A: "š", 0x3C: "œ", 0x3D: "℠", 0x3F: "Ÿ", 0x76: "⅛", 0x77: "⅜", 0x78: "⅝",
       0x79: "⅞", 0x7A: "│", 0x7B: "┐", 0x7C: "└", 0x7D: "─", 0x7E: "┘", 0x7F: "┌"}  # fmt: skip
_ARGUMENTS = {0x88: 1, 0x89: 1, 0x8A: 1, 0x8B: 1, 0x8C: 1, 0x8D: 1, 0x90: 2, 0x91: 3, 0x92: 2, 0x97: 4,
              **dict.fromkeys(range(0x98, 0xA0), 6)}  # fmt: skip
_WINDOWS, _ROWS, _COLUMNS = 8, 15, 42
_TOP_ANCHORS = 3
_EXT1 = 0x10


@dataclass(slots=True)
class _Window:
    """A part of the screen: rows of (character, italic, underlined) by column."""

    visible: bool = False
    rows: int = 1
    top: int | None = None  # per cent of the screen, where it hangs from its upper edge
    row: int = 0
    column: int = 0
    pen: tuple[bool, bool] = (False, False)
    cells: dict[int, dict[int, tuple[str, bool, bool]]] = field(default_factory=dict)

    def put(self, character: str) -> None:
        """Write where the pen is."""
        self.cells.setdefault(self.row, {})[self.column] = (character, *self.pen)
        self.column = min(self.column + 1, _COLUMNS - 1)

    def new_line(self) -> None:
        """To the next row; the last one pushes the others up."""
        self.column = 0
        if self.row + 1 < self.rows:
            self.row += 1
            return
        self.cells = {row - 1: cells for row, cells in self.cells.items() if row > 0}

    @property
    def lines(self) -> Sequence[str]:
        """Its rows as payloads."""
        made = (_line(cells) for _, cells in sorted(self.cells.items()))
        return [line for line in made if line]


def _line(cells: Mapping[int, tuple[str, bool, bool]]) -> str:
    written = [column for column, (character, _, _) in cells.items() if character.strip()]
    if not written:
        return ""
    parts: list[tuple[str, tuple[bool, bool]]] = []
    for column in range(min(written), max(written) + 1):
        character, *style = cells.get(column, (" ", *(parts[-1][1] if parts else (False, False))))
        pen = (bool(style[0]), bool(style[1]))
        if parts and parts[-1][1] == pen:
            parts[-1] = (parts[-1][0] + character, pen)
        else:
            parts.append((character, pen))
    return "".join(_tagged(text, *pen) for text, pen in parts)


def _tagged(text: str, italic: bool, underlined: bool) -> str:  # noqa: FBT001  # a pen's two
    text = escaped(text.replace("&", "&amp;"))
    if not text.strip():
        return text
    text = f"<i>{text}</i>" if italic else text
    return f"<u>{text}</u>" if underlined else text


@dataclass(slots=True)
class _Service:
    """One of the services: a language, or a way to caption it."""

    windows: dict[int, _Window] = field(default_factory=dict)
    current: int = 0
    since: int = 0
    written: int = 0  # when something was last written where it is seen
    cues: list[Cue] = field(default_factory=list)

    def flush(self, time: int) -> None:
        """What is shown was shown until now."""
        shown = [window for _, window in sorted(self.windows.items()) if window.visible and window.lines]
        text = "\n".join(line for window in sorted(shown, key=_height) for line in window.lines)
        tops = [window.top for window in shown if window.top is not None]
        if text and time > self.since:
            self.cues.append(Cue(self.since, time, text, f"line:{min(tops)}%" if tops else ""))
        self.since = time

    def run(self, block: bytes, time: int) -> None:
        """Take a block of codes."""
        for code, arguments in _codes(block):
            if 0x80 <= code <= 0x9F:
                self._command(code, arguments, time)
            elif code < 0x20:
                self._control(code, time)
            elif window := self.windows.get(self.current):
                if window.visible:
                    empty = not any(each.visible and each.lines for each in self.windows.values())
                    if empty or time - max(self.written, self.since) > PAUSE_MS:
                        self.flush(time)
                    self.written = time
                window.put(_character(code))

    def _control(self, code: int, time: int) -> None:
        window = self.windows.get(self.current)
        if window is None:
            return
        if code == 0x08:
            window.column = max(0, window.column - 1)
            window.cells.get(window.row, {}).pop(window.column, None)
        elif code in {0x0C, 0x0D, 0x0E}:
            if window.visible:
                self.flush(time)
            if code == 0x0D:
                window.new_line()
            elif code == 0x0C:
                window.cells, window.row, window.column = {}, 0, 0
            else:
                window.cells.pop(window.row, None)
                window.column = 0

    def _command(self, code: int, arguments: bytes, time: int) -> None:
        if code < 0x88:
            self.current = code - 0x80
        elif code >= 0x98:
            self._define(code - 0x98, arguments, time)
        elif code in {0x88, 0x89, 0x8A, 0x8B, 0x8C}:
            self.flush(time)
            for number in range(_WINDOWS):
                if arguments[0] >> number & 1:
                    self._change(code, number)
        elif code == 0x8F:
            self.flush(time)
            self.windows.clear()
        elif window := self.windows.get(self.current):
            if code == 0x90:
                window.pen = (bool(arguments[1] & 0x80), bool(arguments[1] & 0x40))
            elif code == 0x92:
                window.row, window.column = min(arguments[0] & 0x0F, _ROWS - 1), min(arguments[1] & 0x3F, _COLUMNS - 1)

    def _change(self, code: int, number: int) -> None:
        window = self.windows.get(number)
        if window is None:
            return
        if code == 0x88:
            window.cells, window.row, window.column = {}, 0, 0
        elif code == 0x8C:
            del self.windows[number]
        else:
            window.visible = {0x89: True, 0x8A: False}.get(code, not window.visible)

    def _define(self, number: int, arguments: bytes, time: int) -> None:
        self.flush(time)
        self.current = number
        window = self.windows.setdefault(number, _Window())
        window.visible = bool(arguments[0] & 0x20)
        window.rows = (arguments[3] & 0x0F) + 1
        relative, height = arguments[1] & 0x80, arguments[1] & 0x7F
        place = min(height if relative else round(height * 100 / 75), 100)
        window.top = place if arguments[3] >> 4 < _TOP_ANCHORS and place < 50 else None


def _height(window: _Window) -> int:
    return 100 if window.top is None else window.top


def _codes(block: bytes) -> Iterator[tuple[int, bytes]]:
    """(code, its arguments) of a block; codes of the second tables come as 0x1000 and more. What is cut off is dropped."""
    place = 0
    while place < len(block):
        code = block[place]
        place += 1
        if code == _EXT1:
            if place >= len(block):
                return
            second = block[place]
            place += 1 + _second_length(block, place + 1, second)
            if 0x20 <= second < 0x80 or second >= 0xA0:
                yield 0x1000 + second, b""
            continue
        length = (
            _ARGUMENTS.get(code, 0) if code >= 0x80 else 2 if 0x18 <= code <= 0x1F else 1 if 0x11 <= code <= 0x17 else 0
        )
        arguments = block[place : place + length]
        place += length
        if len(arguments) == length:
            yield code, arguments


def _second_length(block: bytes, place: int, code: int) -> int:
    """How many bytes follow a code of the second control tables."""
    if code < 0x20:
        return code // 8
    if 0x80 <= code < 0x90:
        return 4 if code < 0x88 else 5
    if 0x90 <= code < 0xA0:
        return 1 + (block[place] & 0x3F if place < len(block) else 0)
    return 0


def _character(code: int) -> str:
    if code >= 0x1000:
        return _G2.get(code - 0x1000, "_")
    return "♪" if code == 0x7F else chr(code)


class Cea708:
    """Takes the triplets' bytes as they come. Times are milliseconds, and do not go back."""

    def __init__(self) -> None:
        self._packet = bytearray()
        self._services: dict[int, _Service] = {}

    def feed(self, time: int, first: int, second: int, *, start: bool) -> None:
        """Two bytes of a packet; `start`: they begin one."""
        if start:
            self._packet = bytearray()
        elif not self._packet:
            return
        self._packet += bytes([first, second])
        size = (self._packet[0] & 0x3F) * 2 or 128
        if len(self._packet) >= size:
            for number, block in _blocks(bytes(self._packet[1:size])):
                self._services.setdefault(number, _Service()).run(block, time)
            self._packet = bytearray()

    def finish(self, time: int) -> Mapping[str, Sequence[Cue]]:
        """The cues of each service (S1, S2 …) that has some."""
        for service in self._services.values():
            service.flush(time)
        return {f"S{number}": service.cues for number, service in sorted(self._services.items()) if service.cues}


def _blocks(packet: bytes) -> Iterator[tuple[int, bytes]]:
    """(service, its codes) of a packet."""
    place = 0
    while place < len(packet):
        number, size = packet[place] >> 5, packet[place] & 0x1F
        place += 1
        if number == 7 and size and place < len(packet):
            number = packet[place] & 0x3F
            place += 1
        if number and size:
            yield number, packet[place : place + size]
        place += size
