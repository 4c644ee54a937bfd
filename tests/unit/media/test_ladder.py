"""Which rungs a source gets."""

from __future__ import annotations

import pytest

from taskengine.media.ladder import even_size, fit_width, ladder, renditions
from taskengine.media.profile_book import Profiles

H264 = Profiles().get("H264", "demo").video
RUNGS = H264[0].rungs


def sizes(width: int, height: int) -> list[tuple[int, int]]:
    """The sizes of the ladder of a source."""
    return [size for size, _ in ladder((width, height), RUNGS)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ((1920, 1080), [(1920, 1080), (1280, 720), (854, 480), (640, 360)]),
        ((3840, 2160), [(1920, 1080), (1280, 720), (854, 480), (640, 360)]),
        ((1280, 720), [(1280, 720), (854, 480), (640, 360)]),
        ((1920, 800), [(1920, 800), (1280, 534), (854, 356), (640, 266)]),
        ((1080, 1920), [(1080, 1920), (720, 1280), (480, 854), (360, 640)]),
        ((1048, 576), [(1048, 576), (854, 470), (640, 352)]),
        ((320, 240), [(320, 240)]),
        ((641, 361), [(640, 360)]),
        ((3, 3), [(2, 2)]),
    ],
)
def test_rungs_fit_the_source(source: tuple[int, int], expected: list[tuple[int, int]]) -> None:
    """The equal rung is kept, larger ones go, the source's own size is on top where no rung is near it."""
    assert sizes(*source) == expected


def test_renditions_are_named_from_the_best_on() -> None:
    """The names are generated."""
    assert [rendition.name for rendition in renditions((1280, 720), H264)] == ["video_1", "video_2", "video_3"]


@pytest.mark.parametrize("width", range(2, 4000, 97))
@pytest.mark.parametrize("height", [2, 3, 239, 480, 1081, 2160])
def test_no_rendition_is_larger_than_its_source_and_all_sizes_are_even(width: int, height: int) -> None:
    """Whatever the source's size."""
    found = sizes(width, height)
    assert found
    for wide, high in found:
        assert wide % 2 == high % 2 == 0
        assert 2 <= wide <= max(2, width)
        assert 2 <= high <= max(2, height)


def test_a_width_keeps_the_aspect() -> None:
    """Never above the source's."""
    assert fit_width((1920, 1080), 160) == (160, 90)
    assert fit_width((101, 51), 160) == (100, 50)
    assert even_size((321, 241)) == (320, 240)
