"""Number, rate and constancy of frames from packets."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import pytest

from taskengine.media.timing import PacketScan, Timing


def scan(times: Iterable[float | None], *, flags: str = "K__", nominal: Fraction | None = None) -> Timing | None:
    """What a scan of packets with these times says."""
    packets = PacketScan()
    for time in times:
        packets.line("N/A,N/A,___" if time is None else f"{time:.6f},N/A,{flags}")
    return packets.timing(nominal, nominal)


@pytest.mark.parametrize("rate", ["30000/1001", "24000/1001", "25", "50", "60000/1001", "12"])
@pytest.mark.parametrize("digits", [6, 3])
def test_constant_rates_are_known_even_when_times_are_rounded_to_milliseconds(rate: str, digits: int) -> None:
    """Matroska counts milliseconds; the container's own rate is not needed."""
    exact = Fraction(rate)
    found = scan(round(float(index / exact), digits) for index in range(500))
    assert found is not None
    assert (found.rate, found.constant, found.frames) == (exact, True, 500)
    assert found.duration == pytest.approx(float(500 / exact), abs=0.002)


def test_a_rate_that_no_one_uses_is_the_containers() -> None:
    """17.3 frames per second."""
    rate = Fraction(173, 10)
    found = scan((float(index / rate) for index in range(100)), nominal=rate)
    assert found is not None
    assert (found.rate, found.constant) == (rate, True)


def test_a_missing_frame_makes_the_rate_variable() -> None:
    """The usual rate above the mean is taken."""
    found = scan(index / 30 for index in range(100) if index not in {40, 41})
    assert found is not None
    assert (found.rate, found.constant, found.frames) == (Fraction(30), False, 98)


def test_an_absurd_nominal_rate_is_not_taken() -> None:
    """Variable frame rates often say 90000."""
    found = scan((0, 0.03, 0.08, 0.11, 0.2), nominal=Fraction(90000))
    assert found is not None
    assert found.rate <= 60
    assert not found.constant


def test_packets_that_an_edit_list_leaves_out_are_no_frames() -> None:
    """They are flagged D; packets come in decoding order."""
    packets = PacketScan()
    for line in ("-0.04,-0.04,KD_", "0.080,0.0,___", "0.000,0.04,K__", "0.040,0.08,___"):
        packets.line(line)
    found = packets.timing(Fraction(25), None)
    assert found is not None
    assert (found.packets, found.frames, found.first, found.key_frames) == (4, 3, 0.0, (0.0,))


def test_decoding_times_stand_in_where_there_are_no_others() -> None:
    """AVI knows nothing else."""
    packets = PacketScan()
    for index in range(10):
        packets.line(f"N/A,{index / 25},___")
    found = packets.timing(None, None)
    assert found is not None
    assert (found.rate, found.frames) == (Fraction(25), 10)
    assert packets.span() == (0.0, 0.36)


def test_no_times_no_timing() -> None:
    """Nor a span."""
    assert scan([None, None]) is None
    assert PacketScan().span() is None
    assert PacketScan().line("") is False


def test_one_frame_is_a_still() -> None:
    """A track of one frame has the container's rate."""
    found = scan([0.0], nominal=Fraction(25))
    assert found is not None
    assert found.duration == pytest.approx(0.04)


def test_frames_that_follow_a_key_frame_and_are_shown_before_it_make_an_open_group() -> None:
    """Packets come in decoding order."""
    closed, opened = PacketScan(), PacketScan()
    for line in ("0.0,0,K__", "0.08,0,___", "0.04,0,___", "0.12,0,K__", "0.16,0,___"):
        closed.line(line)
    for line in ("0.0,0,K__", "0.04,0,___", "0.12,0,K__", "0.08,0,___", "0.16,0,___"):
        opened.line(line)
    shut, leading = closed.timing(Fraction(25), None), opened.timing(Fraction(25), None)
    assert shut is not None
    assert leading is not None
    assert (shut.open_gop, leading.open_gop) == (False, True)


def test_what_is_before_the_first_frame_is_known() -> None:
    """Down to the key frame that the edit list leaves out."""
    packets = PacketScan()
    for line in ("-0.080,0,KD_", "-0.040,0,_D_", "0.000,0,___", "0.040,0,___"):
        packets.line(line)
    found = packets.timing(Fraction(25), None)
    assert found is not None
    assert (found.first, found.preroll) == (0.0, 0.08)


@pytest.mark.parametrize("digits", [6, 3])
def test_bursts_of_motion_between_stills_keep_their_rate(digits: int) -> None:
    """A screen's recording: two seconds of motion, then little."""
    times = [index / 30 for index in range(240) if index < 60 or index % 7 == 0]
    found = scan([round(time, digits) for time in times], nominal=Fraction(30))
    assert found is not None
    assert (found.rate, found.constant) == (Fraction(30), False)


def test_a_clock_that_begins_anew_goes_on_where_it_was() -> None:
    """Two streams of 100 frames after one another, and a gap of an hour: 12 seconds, in the ears of ffmpeg. Elsewhere than in
    streams a gap is a gap."""
    packets = PacketScan()
    for begin in (1.4, 1.4, 3600.0):
        for number in range(100):
            time = begin + number / 25
            packets.line(f"{time + 0.08:.6f},{time:.6f},{'K__' if number == 0 else '___'}")
    found = packets.timing(Fraction(25), None, joined=True)
    assert found is not None
    assert (found.frames, found.rate) == (300, Fraction(25))
    assert not found.constant
    assert not found.open_gop
    assert found.duration == pytest.approx(12)
    assert list(found.key_frames) == [0, 4, 8]
    apart = packets.timing(Fraction(25), None)
    assert apart is not None
    assert apart.duration == pytest.approx(3602.6, abs=0.1)
