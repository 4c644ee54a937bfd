"""CEA-708: packets, services, windows, and what they show."""

from __future__ import annotations

from taskengine.media.captions import embedded
from taskengine.media.captions.cea708 import Cea708
from taskengine.media.captions.cues import Cue

TOP, BOTTOM = 0x00, 0x70  # anchor points: the upper left corner, the lower middle


def define(number: int, *, visible: bool = False, anchor: int = BOTTOM, rows: int = 2, height: int = 5) -> bytes:
    """The command that makes a window."""
    return bytes([0x98 + number, 0x20 if visible else 0, 0x80 | height, 0, anchor | (rows - 1), 31, 0])


def packets(*blocks: bytes, service: int = 1) -> list[bytes]:
    """Each block of codes in a packet of its own."""
    made = []
    for block in blocks:
        head = [0x20 * service | len(block)] if service < 7 else [0xE0 | len(block), service]
        content = bytes([*head, *block])
        size = (len(content) + 2) // 2
        made.append(bytes([size, *content]).ljust(size * 2, b"\0"))
    return made


def decoded(*timed: tuple[int, bytes], service: int = 1) -> dict[str, list[Cue]]:
    """What comes of blocks at these milliseconds."""
    decoder = Cea708()
    for time, block in timed:
        (packet,) = packets(block, service=service)
        for place in range(0, len(packet), 2):
            decoder.feed(time, packet[place], packet[place + 1], start=place == 0)
    return {name: list(cues) for name, cues in decoder.finish(10_000).items()}


def test_a_window_is_shown_when_it_is_told_to_and_until_it_is_wiped() -> None:
    """What is written unseen, then displayed; italics by the pen, characters of the second table."""
    written = define(0) + b"Hi & " + bytes([0x90, 0x05, 0x80]) + b"you" + bytes([0x10, 0x25, 0x0D, 0x90, 0, 0, 0xE9])
    found = decoded((0, written), (1000, bytes([0x89, 1])), (3000, bytes([0x88, 1])))
    assert found == {"S1": [Cue(1000, 3000, "Hi &amp; <i>you…</i>\né")]}


def test_lines_are_pushed_up_in_a_window_that_is_seen() -> None:
    """As roll-up captions do."""
    found = decoded(
        (0, define(1, visible=True)), (100, b"one\r"), (1000, b"two\r"), (2000, b"three"), (3000, bytes([0x8C, 2]))
    )
    assert [(cue.start, cue.end, cue.text) for cue in found["S1"]] == [
        (100, 1000, "one"), (1000, 2000, "two"), (2000, 3000, "two\nthree"),
    ]  # fmt: skip


def test_windows_above_say_where_they_are() -> None:
    """Two at once are one cue, the upper one first; a place of the pen; a backspace; a reset."""
    upper = define(0, visible=True, anchor=TOP) + bytes([0x92, 1, 2]) + b"upx" + bytes([0x08])
    found = decoded((0, define(3, visible=True) + b"low"), (0, upper), (2000, bytes([0x8F])))
    assert [(cue.text, cue.settings) for cue in found["S1"]] == [("up\nlow", "line:5%")]


def test_services_are_apart_and_broken_packets_are_passed_over() -> None:
    """Numbers above six are in a byte of their own."""
    shown = define(0, visible=True) + b"x"
    assert list(decoded((0, shown), service=9)) == ["S9"]
    decoder = Cea708()
    decoder.feed(0, 0x41, 0x41, start=False)
    decoder.feed(0, 2, 0x3F, start=True)
    decoder.feed(0, 0x98, 0x20, start=False)
    assert decoder.finish(100) == {}


def test_services_count_where_there_is_no_older_channel() -> None:
    """Triplets of the kinds 3 and 2 in the frames."""
    (packet,) = packets(define(0, visible=True) + b"new")
    heads = [0xFF, *[0xFE] * (len(packet) // 2 - 1)]
    data = b"".join(bytes([head, packet[2 * n], packet[2 * n + 1]]) for n, head in enumerate(heads))
    times = "#tb 0: 1/1000\n" + f"0, 500, 500, 0, {len(data)}, 0x0\n0, 900, 900, 0, 0, 0x0\n"
    assert embedded.read(data, times) == {"S1": [Cue(500, 900, "new")]}
