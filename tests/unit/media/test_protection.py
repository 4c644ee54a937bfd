"""Which sets protections need, and what becomes active."""

from __future__ import annotations

import pytest

from taskengine.media.protection import Active, WantedSet, active_sets, wanted_sets


@pytest.mark.parametrize(
    ("drm", "expected"),
    [
        ([], [WantedSet("clear")]),
        (["clear"], [WantedSet("clear")]),
        (["widevine"], [WantedSet("cenc", ["widevine"])]),
        (["playready", "widevine", "clear"], [WantedSet("clear"), WantedSet("cenc", ["widevine", "playready"])]),
        (["cenc"], [WantedSet("cenc", ["cenc"])]),
        (["fairplay"], [WantedSet("cbcs", ["fairplay"])]),
        (["fairplay", "widevine"], [WantedSet("cenc", ["widevine"]), WantedSet("cbcs", ["fairplay", "widevine"])]),
        (["aes", "clear"], [WantedSet("clear"), WantedSet("aes")]),
    ],
)
def test_each_protection_has_its_set(drm: list[str], expected: list[WantedSet]) -> None:
    """Clear where it is listed or nothing is; two sets where players need two."""
    assert wanted_sets(drm) == expected


def test_encrypting_all_makes_nothing_clear() -> None:
    """What is listed without clear, or a set for PlayReady."""
    assert wanted_sets(["clear"], encrypt_all=True) == [WantedSet("cenc", ["playready"])]
    assert wanted_sets(["clear", "aes"], encrypt_all=True) == [WantedSet("aes")]
    assert wanted_sets(["clear", "widevine"], encrypt_all=True) == [WantedSet("cenc", ["widevine"])]


@pytest.mark.parametrize(
    ("there", "protected", "expected"),
    [
        (["clear"], True, Active("clear", "clear")),
        (["clear", "cenc"], False, Active("clear", "clear")),
        (["clear", "cenc"], True, Active("cenc", "cenc")),
        (["cenc"], False, Active("cenc", "cenc")),
        (["cenc", "cbcs"], True, Active("cbcs", "cenc")),
        (["cbcs"], True, Active("cbcs", "cbcs")),
        (["aes", "cenc"], True, Active("aes", "cenc")),
        (["aes", "cbcs"], True, Active("cbcs", "cbcs")),
        (["aes", "clear"], True, Active("aes", None)),
    ],
)
def test_players_of_hls_and_dash_each_get_what_they_can_use(
    there: list[str], *, protected: bool, expected: Active
) -> None:
    """Clear where protection is not asked for and there is clear."""
    assert active_sets(there, protected=protected) == expected
