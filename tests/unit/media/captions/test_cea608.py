"""CEA-608: modes, characters, places, channels; Scenarist files and pictures that carry it."""

from __future__ import annotations

from collections.abc import Sequence

from taskengine.media.captions import embedded, scc
from taskengine.media.captions.cea608 import LINGERS_MS, Cea608
from taskengine.media.captions.cues import Cue, without_hours

RCL, EOC, EDM, CR, RU2, RDC, ENM, BS = 0x20, 0x2F, 0x2C, 0x2D, 0x25, 0x29, 0x2E, 0x21
Pairs = Sequence[tuple[int, int]]


def letters(text: str) -> Pairs:
    """Text as pairs."""
    codes = [*text.encode("ascii"), *([0] if len(text) % 2 else [])]
    return list(zip(codes[::2], codes[1::2], strict=True))


def decoded(*timed: tuple[int, Pairs], field: int = 0) -> dict[str, list[Cue]]:
    """What comes of pairs fed at these milliseconds, one a frame of 40 ms."""
    decoder = Cea608()
    for time, pairs in timed:
        for number, (first, second) in enumerate(pairs):
            decoder.feed(field, time + 40 * number, first, second)
    return {name: list(cues) for name, cues in decoder.finish(10_000).items()}


def test_pop_on_is_shown_when_it_is_whole() -> None:
    """From the command that shows it to the one that wipes it."""
    found = decoded(
        (0, [(0x14, RCL), (0x14, RCL), (0x14, 0x70), *letters("Hi <co>")]), (1000, [(0x14, EOC)]), (3000, [(0x14, EDM)])
    )
    assert found == {"CC1": [Cue(1000, 3000, "Hi &lt;co&gt;", "line:85% position:10% align:left")]}


def test_commands_that_come_twice_count_once() -> None:
    """As every encoder sends them."""
    once = decoded((0, [(0x14, RCL), (0x14, 0x70), *letters("a"), (0x14, EOC)]), (1000, [(0x14, EDM)]))
    twice = decoded(
        (0, [(0x14, RCL), (0x14, RCL), (0x14, 0x70), (0x14, 0x70), *letters("a")]), (120, [(0x14, EOC), (0x14, EOC)]),
        (1000, [(0x14, EDM), (0x14, EDM)]),
    )  # fmt: skip
    assert once == twice


def test_roll_up_pushes_lines_up() -> None:
    """Each line is shown until the next one is whole; two stay."""
    found = decoded(
        (0, [(0x14, RU2), (0x14, CR), (0x14, 0x70), *letters("one")]), (1000, [(0x14, CR), *letters("two")]),
        (2000, [(0x14, CR), *letters("three")]), (3000, [(0x14, EDM)]),
    )  # fmt: skip
    assert [(cue.end, cue.text) for cue in found["CC1"]] == [(1000, "one"), (2000, "one\ntwo"), (3000, "two\nthree")]


def test_paint_on_is_shown_as_it_is_written() -> None:
    """Until it is wiped."""
    found = decoded((500, [(0x14, RDC), (0x14, 0x60), *letters("now")]), (2000, [(0x14, EDM)]))
    assert [(cue.start, cue.end, cue.text) for cue in found["CC1"]] == [(580, 2000, "now")]


def test_characters_styles_and_places() -> None:
    """Special and extended ones, italics, underline, colours, tabs, a backspace."""
    found = decoded(
        (0, [
            (0x14, RCL), (0x11, 0x40 | 0x0E), *letters("a"), (0x11, 0x37), *letters("E"), (0x12, 0x21),
            (0x11, 0x22), *letters("g"), (0x12, 0x54), (0x17, 0x22), *letters("xy"), (0x14, BS), (0x14, EOC),
        ]), (1000, [(0x14, EDM)]),
    )  # fmt: skip
    (cue,) = found["CC1"]
    assert cue.text == "<i>a♪É </i><c.lime>g</c>\nx"
    assert cue.settings.startswith("line:10% position:")


def test_channels_and_fields_are_apart() -> None:
    """CC1 to CC4; data of the programme in the second field is no text, nor is what is sent before a channel is named."""
    second = decoded((0, [(0x1C, RCL), (0x1C, 0x70), *letters("two"), (0x1C, EOC)]))
    assert list(second) == ["CC2"]
    third = decoded((0, [(0x01, 0x03), *letters("TITLE"), (0x0F, 0x1D), (0x15, RCL), (0x14, 0x70), *letters("drei"),
                         (0x01, 0x05), *letters("more"), (0x15, EOC)]), field=1)  # fmt: skip
    assert [cue.text for cue in third["CC3"]] == ["drei"]
    assert decoded((0, letters("lost"))) == {}


def test_what_nobody_wipes_goes_after_a_while() -> None:
    """As receivers do it."""
    decoder = Cea608()
    for pair in [(0x14, RCL), (0x14, 0x70), *letters("x"), (0x14, EOC)]:
        decoder.feed(0, 0, *pair)
    assert decoder.finish(3_600_000)["CC1"][0].end == LINGERS_MS


def test_a_scenarist_file_counts_frames() -> None:
    """Without dropped numbers an hour of its time codes lasts 3.6 s longer."""
    text = "Scenarist_SCC V1.0\n\n{0}00{1}00\t9420 9470 c8e9 942f\n\n{0}02{1}00\t942c\n"
    plain = scc.read(text.format("01:00:", ":"))
    assert (plain.cues[0].start, plain.cues[0].end) == (3_603_700, 3_605_602)
    assert without_hours(plain, 10_000).cues[0].start == 100
    dropped = scc.read(text.format("01:00:", ";"))
    assert dropped.cues[0].start == 3_600_096
    assert dropped.cues[0].text == "Hi"


def test_frames_carry_triplets() -> None:
    """Valid ones of the two fields count, at the frame's time."""
    times = "#tb 0: 1/90000\n" + "".join(f"0, {90_000 + n * 3600}, {90_000 + n * 3600}, 0, 6, 0x0\n" for n in range(4))
    pairs = [(0x14, RCL), (0x14, 0x70), *letters("ab"), (0x14, EOC)]
    data = b"".join(bytes([0xFC, first, second, 0xFE, 1, 2]) for first, second in pairs)
    (cue,) = embedded.read(data, times)["CC1"]
    assert (cue.start, cue.text) == (1120, "ab")
    invalid = b"".join(bytes([0xF8, first, second, 0xFA, 0, 0]) for first, second in pairs)
    assert embedded.read(invalid, times) == {}
