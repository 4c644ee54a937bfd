"""MP4 boxes, built by hand."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskengine.media.mp4 import BoxFault, Fragment, layout, read_fragments, read_movie


def box(kind: bytes, *parts: bytes) -> bytes:
    """A box."""
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full(kind: bytes, flags: int, *parts: bytes, version: int = 0) -> bytes:
    """A box with version and flags."""
    return box(kind, bytes([version]) + flags.to_bytes(3, "big"), *parts)


def u32(*values: int) -> bytes:
    """Big-endian words."""
    return struct.pack(f">{len(values)}I", *values)


def trak(track: int, handler: bytes, timescale: int, duration: int, samples: int) -> bytes:
    """A track box."""
    return box(
        b"trak",
        full(b"tkhd", 3, u32(0, 0, track, 0)),
        box(
            b"mdia",
            full(b"mdhd", 0, u32(0, 0, timescale, duration, 0)),
            full(b"hdlr", 0, u32(0), handler, bytes(13)),
            box(b"minf", box(b"stbl", full(b"stsz", 0, u32(0, samples)))),
        ),
    )


def moov(*tracks: bytes) -> bytes:
    """A movie box with a default duration of 1024 for track 1."""
    return box(b"moov", *tracks, box(b"mvex", full(b"trex", 0, u32(1, 1, 1024, 0, 0))))


def segment(tfhd: bytes, *truns: bytes, begin: int = 4096) -> bytes:
    """A movie fragment."""
    tfdt = full(b"tfdt", 0, struct.pack(">Q", begin), version=1)
    return (
        box(b"styp", b"cmfs")
        + box(b"moof", full(b"mfhd", 0, u32(1)), box(b"traf", tfhd, tfdt, *truns))
        + box(b"mdat", b"x")
    )


def write(folder: Path, data: bytes) -> Path:
    """A file."""
    path = folder / "file.mp4"
    path.write_bytes(data)
    return path


def test_a_movie_says_what_its_tracks_are(tmp_path: Path) -> None:
    """Kind, timescale, duration, samples; whether the index is first."""
    data = moov(trak(1, b"vide", 30000, 300300, 300), trak(2, b"soun", 48000, 480480, 470))
    found = read_movie(write(tmp_path, box(b"ftyp", b"isom") + data + box(b"mdat", b"xyz")))
    assert [(track.handler, track.samples) for track in found.tracks] == [("vide", 300), ("soun", 470)]
    assert found.tracks[0].seconds == pytest.approx(10.01)
    assert found.tracks[0].default_duration == 1024
    assert found.index_first
    assert not read_movie(write(tmp_path, box(b"mdat", b"xyz") + data)).index_first


def test_fragments_have_their_durations_from_the_run_the_header_or_the_movie(tmp_path: Path) -> None:
    """In that order."""
    own = full(b"trun", 0x301, u32(3, 0), u32(100, 9, 200, 9, 300, 9))
    assert read_fragments(write(tmp_path, segment(full(b"tfhd", 0, u32(1)), own)), {}) == [Fragment(1, 4096, 600, 3)]
    plain = full(b"trun", 0x205, u32(2, 0, 0), u32(9, 9))
    header = full(b"tfhd", 0x2A, u32(1, 7, 512, 0))
    assert read_fragments(write(tmp_path, segment(header, plain)), {}) == [Fragment(1, 4096, 1024, 2)]
    assert read_fragments(write(tmp_path, segment(full(b"tfhd", 0, u32(1)), plain)), {1: 50}) == [
        Fragment(1, 4096, 100, 2)
    ]


@pytest.mark.parametrize("keep", [0, 5, 20, 60, -1])
def test_a_file_that_was_cut_is_no_whole_mp4(tmp_path: Path, keep: int) -> None:
    """Wherever it was cut."""
    data = box(b"ftyp", b"isom") + moov(trak(1, b"vide", 25, 25, 25)) + box(b"mdat", bytes(100))
    with pytest.raises(BoxFault):
        read_movie(write(tmp_path, data[:keep]))


def test_large_boxes_and_a_last_one_without_a_length(tmp_path: Path) -> None:
    """64-bit lengths, and zero for the rest of the file."""
    data = struct.pack(">I4sQ", 1, b"free", 20) + b"abcd" + struct.pack(">I4s", 0, b"mdat") + b"rest"
    assert list(layout(write(tmp_path, data))) == [(b"free", 0, 20), (b"mdat", 20, 12)]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(data=st.data())
def test_damage_is_a_box_fault_and_nothing_else(tmp_path: Path, data: st.DataObject) -> None:
    """Any byte may be any other."""
    whole = bytearray(
        moov(trak(1, b"vide", 25, 25, 25)) + segment(full(b"tfhd", 0, u32(1)), full(b"trun", 0x100, u32(1, 5)))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = write(tmp_path, bytes(whole))
    for read in (lambda: read_movie(path), lambda: read_fragments(path, {})):
        with suppress(BoxFault):
            read()
