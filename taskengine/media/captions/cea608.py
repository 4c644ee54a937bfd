"""CEA-608 captions: pairs of bytes in two fields of the video, as screens that come and go.

Four channels (CC1 to CC4), each in one of three modes: pop-on (written unseen, then shown), roll-up (lines that push one
another up), paint-on (written while it is shown). A screen that was shown becomes a cue when it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from taskengine.media.captions.cues import Cue, escaped

ROWS, COLUMNS = 15, 32
LINGERS_MS = 16_000  # receivers wipe what nobody wiped
PAUSE_MS = 400  # what is written after so long is a new caption, beside what is there
_BASIC = {0x27: "’", 0x2A: "á", 0x5C: "é", 0x5E: "í", 0x5F: "ó", 0x60: "ú", 0x7B: "ç", 0x7C: "÷", 0x7D: "Ñ", 0x7E: "ñ",
          0x7F: "█"}  # fmt: skip
_SPECIAL = "®°½¿™¢£♪à\u00a0èâêîôû"
_EXTENDED = {
    0x12: "ÁÉÓÚÜü‘¡*'—©℠•“”ÀÂÇÈÊËëÎÏïÔÙùÛ«»",  # noqa: RUF001
    0x13: "ÃãÍÌìÒòÕõ{}\\^_|~ÄäÖöß¥¤│ÅåØø┌┐└┘",
}
_PAC_ROWS = {0x11: 1, 0x12: 3, 0x15: 5, 0x16: 7, 0x17: 9, 0x10: 11, 0x13: 12, 0x14: 14}
_COLORS = ("white", "lime", "blue", "cyan", "red", "yellow", "magenta")
_ITALIC = 7


class _Mode(Enum):
    POP_ON = "pop-on"
    ROLL_UP = "roll-up"
    PAINT_ON = "paint-on"
    TEXT = "text"  # no captions: read over


@dataclass(frozen=True, slots=True)
class _Pen:
    color: str = "white"
    italic: bool = False
    underline: bool = False


_Cell = tuple[str, _Pen]
_Screen = dict[int, dict[int, _Cell]]  # row → column → cell


@dataclass(slots=True)
class _Channel:
    """One of the four."""

    cues: list[Cue] = field(default_factory=list)
    mode: _Mode | None = None
    shown: _Screen = field(default_factory=dict)
    hidden: _Screen = field(default_factory=dict)
    since: int = 0  # when what is shown began to be
    row: int = ROWS
    column: int = 0
    pen: _Pen = field(default_factory=_Pen)
    depth: int = 2  # lines of roll-up
    written: int = 0  # when something was last written where it is seen

    @property
    def screen(self) -> _Screen:
        """The one that is written to."""
        return self.hidden if self.mode is _Mode.POP_ON else self.shown

    def flush(self, time: int) -> None:
        """What is shown was shown until now."""
        if text := _payload(self.shown):
            end = min(time, self.since + LINGERS_MS) if self.mode is _Mode.POP_ON else time
            self.cues.append(Cue(self.since, end, text, _settings(self.shown)))
        self.since = time

    def put(self, character: str, time: int) -> None:
        """Write a character where the cursor is."""
        if self.mode in {None, _Mode.TEXT}:
            return
        if self.mode is not _Mode.POP_ON:
            if not any(self.shown.values()) or time - max(self.written, self.since) > PAUSE_MS:
                self.flush(time)
            self.written = time
        self.screen.setdefault(self.row, {})[self.column] = (character, self.pen)
        self.column = min(self.column + 1, COLUMNS - 1)

    def back(self) -> None:
        """Take the last character away."""
        self.column = max(0, self.column - 1)
        self.screen.get(self.row, {}).pop(self.column, None)

    def place(self, row: int, attributes: int) -> None:
        """A preamble: the row, and either an indent or a colour."""
        if self.mode is _Mode.ROLL_UP and row != self.row:
            moved = {line - self.row + row: cells for line, cells in self.shown.items()}
            self.shown = {line: cells for line, cells in moved.items() if 1 <= line <= ROWS}
        self.row = row
        kind = attributes >> 1 & 0xF
        indent = 4 * (kind - 8) if kind >= 8 else 0
        self.column = indent
        color = _COLORS[kind] if kind < len(_COLORS) else "white"
        self.pen = _Pen(color, kind == _ITALIC, bool(attributes & 1))

    def style(self, attributes: int, time: int) -> None:
        """A mid-row code: a style from here on; it takes the place of a space."""
        kind = attributes >> 1 & 0x7
        color = self.pen.color if kind == _ITALIC else _COLORS[kind]
        self.put(" ", time)
        self.pen = _Pen(color, kind == _ITALIC, bool(attributes & 1))

    def roll_up(self, depth: int, time: int) -> None:
        """Begin to roll."""
        if self.mode is not _Mode.ROLL_UP:
            self.flush(time)
            self.shown, self.hidden, self.row, self.column = {}, {}, ROWS, 0
        self.mode, self.depth = _Mode.ROLL_UP, depth

    def carriage_return(self, time: int) -> None:
        """Push the lines up by one."""
        if self.mode is not _Mode.ROLL_UP:
            return
        self.flush(time)
        oldest = self.row - self.depth + 1
        self.shown = {line - 1: cells for line, cells in self.shown.items() if max(oldest, 1) < line <= self.row}
        self.column = 0

    def erase_shown(self, time: int) -> None:
        """Wipe the screen."""
        self.flush(time)
        self.shown = {}

    def end_of_caption(self, time: int) -> None:
        """Show what was written unseen."""
        self.flush(time)
        self.mode = _Mode.POP_ON
        self.shown, self.hidden = self.hidden, self.shown

    def enter(self, mode: _Mode, time: int) -> None:
        """Change the mode; what is shown stays."""
        if mode is _Mode.PAINT_ON and self.mode is not mode:
            self.flush(time)
        self.mode = mode


_COMMANDS: Mapping[int, Callable[[_Channel, int], None]] = {
    0x20: lambda channel, time: channel.enter(_Mode.POP_ON, time),
    0x21: lambda channel, _: channel.back(),
    0x24: lambda channel, _: _delete_to_end(channel),
    0x25: lambda channel, time: channel.roll_up(2, time),
    0x26: lambda channel, time: channel.roll_up(3, time),
    0x27: lambda channel, time: channel.roll_up(4, time),
    0x29: lambda channel, time: channel.enter(_Mode.PAINT_ON, time),
    0x2A: lambda channel, time: channel.enter(_Mode.TEXT, time),
    0x2B: lambda channel, time: channel.enter(_Mode.TEXT, time),
    0x2C: lambda channel, time: channel.erase_shown(time),
    0x2D: lambda channel, time: channel.carriage_return(time),
    0x2E: lambda channel, _: channel.hidden.clear(),
    0x2F: lambda channel, time: channel.end_of_caption(time),
}


def _delete_to_end(channel: _Channel) -> None:
    cells = channel.screen.get(channel.row, {})
    for column in [column for column in cells if column >= channel.column]:
        del cells[column]


@dataclass(slots=True)
class _Field:
    """One of the two fields: which channel its bytes are for, and what came last."""

    first: _Channel = field(default_factory=_Channel)
    second: _Channel = field(default_factory=_Channel)
    current: _Channel | None = None
    last: tuple[int, int] | None = None  # control pair, which comes twice
    other_data: bool = False  # of the programme, not captions (XDS)


class Cea608:
    """Takes pairs of bytes as they come. Times are milliseconds, and do not go back."""

    def __init__(self) -> None:
        self._fields = (_Field(), _Field())

    def feed(self, number: int, time: int, first: int, second: int) -> None:
        """Two bytes of field 0 or 1, with or without their parity bits."""
        state = self._fields[number]
        first, second = first & 0x7F, second & 0x7F
        if 0x10 <= first <= 0x1F:
            state.other_data = False
            if state.last == (first, second):
                state.last = None
                return
            state.last = (first, second)
            _control(state, first, second, time)
            return
        if first or second:
            state.last = None
        if 0 < first < 0x10:
            state.other_data = number == 1 and first != 0x0F
        elif first >= 0x20 and not state.other_data and state.current:
            for code in (first, second):
                if code >= 0x20:
                    state.current.put(_BASIC.get(code, chr(code)), time)

    def finish(self, time: int) -> Mapping[str, Sequence[Cue]]:
        """The cues of each channel (CC1 to CC4) that has some."""
        channels = [channel for state in self._fields for channel in (state.first, state.second)]
        for channel in channels:
            channel.flush(min(time, channel.since + LINGERS_MS))
        named = {f"CC{number}": channel.cues for number, channel in enumerate(channels, start=1)}
        return {name: cues for name, cues in named.items() if cues}


def _control(state: _Field, first: int, second: int, time: int) -> None:
    channel = state.second if first & 0x08 else state.first
    kind = first & 0xF7
    state.current = channel
    if second >= 0x40:
        row = _PAC_ROWS[kind] + (1 if second & 0x20 and kind != 0x10 else 0)
        if channel.mode is not _Mode.TEXT:
            channel.place(row, second & 0x1F)
    elif kind in {0x14, 0x15} and second in _COMMANDS:
        _COMMANDS[second](channel, time)
    elif kind == 0x17 and 0x21 <= second <= 0x23:
        channel.column = min(channel.column + second - 0x20, COLUMNS - 1)
    elif kind == 0x11 and 0x20 <= second <= 0x2F:
        channel.style(second, time)
    elif kind == 0x11 and 0x30 <= second <= 0x3F:
        channel.put(_SPECIAL[second - 0x30], time)
    elif kind in _EXTENDED and 0x20 <= second <= 0x3F:
        channel.back()  # a plain character came before, for receivers that do not know these
        channel.put(_EXTENDED[kind][second - 0x20], time)


def _rows(screen: _Screen) -> Sequence[tuple[int, int, str]]:
    """(row, first column, payload) of each row with something in it."""
    found = []
    for row, cells in sorted(screen.items()):
        columns = [column for column, (character, _) in cells.items() if character.strip()]
        if columns:
            found.append((row, min(columns), _line(cells, min(columns), max(columns))))
    return found


def _line(cells: Mapping[int, _Cell], first: int, last: int) -> str:
    """The cells of a row as a payload, each run of one style in its tags."""
    runs: list[tuple[str, _Pen]] = []
    for column in range(first, last + 1):
        character, pen = cells.get(column, (" ", runs[-1][1] if runs else _Pen()))
        text, before = runs[-1] if runs else ("", pen)
        if runs and before == pen:
            runs[-1] = (text + character, pen)
        else:
            runs.append((character, pen))
    return "".join(_tagged(text, pen) for text, pen in runs)


def _tagged(text: str, pen: _Pen) -> str:
    if not text.strip():
        return text
    tagged = escaped(text.replace("&", "&amp;"))
    tagged = f"<i>{tagged}</i>" if pen.italic else tagged
    tagged = f"<u>{tagged}</u>" if pen.underline else tagged
    return tagged if pen.color == "white" else f"<c.{pen.color}>{tagged}</c>"


def _payload(screen: _Screen) -> str:
    return "\n".join(text for _, _, text in _rows(screen))


def _settings(screen: _Screen) -> str:
    """The place on the screen: rows and columns lie within its safe area of 80 %."""
    rows = _rows(screen)
    if not rows:
        return ""
    line = round(10 + (rows[0][0] - 1) * 80 / ROWS)
    column = round(10 + min(first for _, first, _ in rows) * 80 / COLUMNS)
    return f"line:{line}% position:{column}% align:left"
