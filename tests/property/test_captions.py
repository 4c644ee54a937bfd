"""Captions under any input: what is read is well formed, what is broken is a fault and nothing else."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from taskengine.media.captions import reading, srt, vtt
from taskengine.media.captions.cea608 import Cea608
from taskengine.media.captions.cea708 import Cea708
from taskengine.media.captions.cues import CaptionFault, Captions, Cue, payload

TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
MARKUP = re.compile(r"<[^<>]*>")
REFERENCE = re.compile(r"&(?:[a-z]+|#\d+|#[xX][0-9a-fA-F]+);")


@given(TEXT)
def test_a_payload_is_one_of_webvtt(text: str) -> None:
    """No blank line, no arrow, no bare `&`, `<` or `>`; made again it is the same."""
    made = payload(text)
    assert all(line.strip() for line in made.split("\n")) or not made
    bare = MARKUP.sub("", made)
    assert "<" not in bare
    assert ">" not in bare
    assert "&" not in REFERENCE.sub("", bare)
    assert payload(made) == made


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 10**6), TEXT), max_size=8))
def test_what_is_written_is_read_again(parts: list[tuple[int, int, str]]) -> None:
    """Times to the millisecond and every text."""
    cues = [Cue(start, start + length, text) for start, length, raw in parts if (text := payload(raw))]
    ordered = sorted(cues, key=lambda cue: (cue.start, cue.end))
    assert vtt.read(vtt.write(Captions(ordered))).cues == ordered


@given(st.lists(st.tuples(st.integers(0, 10**8), st.integers(1, 10**6), st.text("abc<>&é ", min_size=1)), min_size=1))
def test_subrip_loses_nothing(parts: list[tuple[int, int, str]]) -> None:
    """Every block with a text gives a cue."""

    def stamp(time: int) -> str:
        return f"{time // 3_600_000:02d}:{time // 60_000 % 60:02d}:{time // 1000 % 60:02d},{time % 1000:03d}"

    blocks = [f"{n}\n{stamp(at)} --> {stamp(at + length)}\n{text}\n" for n, (at, length, text) in enumerate(parts, 1)]
    found = srt.read("\n".join(blocks))
    assert sorted(cue.start for cue in found.cues) == sorted(at for at, _, text in parts if payload(text))


@given(st.binary(max_size=400), st.sampled_from(["srt", "vtt", "ttml", "scc"]), st.sampled_from([None, "pl", "ja"]))
def test_any_bytes_are_captions_or_a_fault(data: bytes, extension: str, language: str | None) -> None:
    """Nothing else is raised, and what is written is WebVTT."""
    heads = {"srt": b"1\n00:00:01,000 --> 00:00:02,000\n", "vtt": b"WEBVTT\n\n00:01.000 --> 00:02.000\n",
             "scc": b"Scenarist_SCC V1.0\n\n00:00:01:00\t", "ttml": b"<tt><body><p begin='0s' end='1s'>"}  # fmt: skip
    for content in (data, heads[extension] + data):
        try:
            found = reading.read(content, extension, language)
        except CaptionFault:
            continue
        assert vtt.read(vtt.write(found)).cues == found.cues


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 255), st.integers(0, 255)), max_size=300))
def test_any_pairs_are_decoded(pairs: list[tuple[int, int, int]]) -> None:
    """Cues follow one another within a channel, on the screen's rows, and last."""
    decoder = Cea608()
    for time, (field, first, second) in enumerate(pairs):
        decoder.feed(field, time * 40, first, second)
    for cues in decoder.finish(len(pairs) * 40 + 1000).values():
        for cue in cues:
            assert cue.start <= cue.end
            assert cue.text
        assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=12))
def test_any_packet_is_decoded(blocks: list[bytes]) -> None:
    """Windows full of anything: cues that last, in order."""
    decoder, time = Cea708(), 0
    for block in [b"\x98\x20\x00\x00\x02\x1f\x00", *blocks]:
        packet = bytes([0, 0x20 | min(len(block), 31), *block[:31]]).ljust(128, b"\0")
        for place in range(0, 128, 2):
            decoder.feed(time, packet[place], packet[place + 1], start=place == 0)
        time += 40
    for cues in decoder.finish(time).values():
        assert all(cue.start < cue.end and cue.text for cue in cues)
        assert [cue.start for cue in cues] == sorted(cue.start for cue in cues)
