"""What turning protection on or off means, asset by asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from taskengine.domain.errors import InputFault
from taskengine.media.protection import Active
from taskengine.media.published import Published, StoredSet
from taskengine.media.switching import Switch, decide
from taskengine.media.tracks import Media

CLEAR = Active("clear", "clear")


def asset(active: Active, sets: Mapping[str, Sequence[str]]) -> Published:
    """An asset with these sets."""
    return Published(
        "film", active, {name: StoredSet("1-1", systems) for name, systems in sets.items()}, Media([], 1.0)
    )


@pytest.mark.parametrize(
    ("active", "sets", "asked", "expected"),
    [
        (CLEAR, {"clear": ()}, ["widevine"], Switch(Active("cenc", "cenc"), ["cenc"], ["clear", "widevine"])),
        (CLEAR, {"clear": (), "cenc": ["widevine"]}, [], Switch(Active("cenc", "cenc"), [], ["clear", "widevine"])),
        (Active("cenc", "cenc"), {"clear": (), "cenc": ["widevine"]}, [], Switch(CLEAR, [], ["clear", "widevine"])),
        (Active("cenc", "cenc"), {"cenc": ["widevine"]}, ["widevine"], Switch(CLEAR, ["clear"], ["clear", "widevine"])),
        (
            Active("cenc", "cenc"), {"clear": (), "cenc": ["widevine"]}, ["playready", "widevine"],
            Switch(Active("cenc", "cenc"), ["cenc"], ["clear", "widevine", "playready"]),
        ),
        (
            Active("cenc", "cenc"), {"cenc": ["widevine"]}, ["clear", "fairplay"],
            Switch(Active("cbcs", "cbcs"), ["cbcs"], ["widevine", "fairplay"]),
        ),
        (CLEAR, {"clear": (), "aes": (), "cenc": ["cenc"]}, ["aes"], Switch(Active("aes", None), [], ["clear", "aes", "cenc"])),
        (CLEAR, {"clear": (), "cenc": ["cenc"]}, ["clear"], Switch(CLEAR, [], ["clear", "cenc"])),
    ],
)  # fmt: skip
def test_the_other_manifest_becomes_active(
    active: Active, sets: Mapping[str, Sequence[str]], asked: list[str], expected: Switch
) -> None:
    """What is named and is not active; else the other side; what is missing is made."""
    assert decide(asset(active, sets), asked) == expected


def test_nothing_protected_and_nothing_named_is_a_fault() -> None:
    """It says what to name."""
    with pytest.raises(InputFault, match="drm: the asset has no protected manifest"):
        decide(asset(CLEAR, {"clear": ()}), [])
