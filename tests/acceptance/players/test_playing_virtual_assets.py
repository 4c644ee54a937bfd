"""A real player plays virtual assets and channels over the borders of their clips: Shaka Player in Chromium."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from taskengine.engine.submissions import Submission
from tests.support.engine import bench, settings_for
from tests.support.player import chromium, player_over, shaka_player
from tests.support.receiver import CallbackReceiver
from tests.support.vod import origin_over, vod_stream

YELLOW, GREY = -1, 0  # films a and b
installed = pytest.fixture(scope="module")(shaka_player)


@pytest.fixture(scope="module")
def browser() -> str:
    """Chromium, or no test here."""
    return chromium()


@pytest.mark.usefixtures("browser")
async def test_clips_play_one_after_the_other(tmp_path: Path, installed: Path) -> None:
    """By HLS and by DASH, with an edge that was made between references; and live, over the seam of the loop."""
    for name, seconds in (("a", 3), ("b", 2)):
        vod_stream(tmp_path / "films", name, seconds)
    async with (
        origin_over(tmp_path / "films") as films,
        CallbackReceiver() as receiver,
        bench(settings_for(tmp_path), receiver, http=True) as running,
    ):

        async def made(workflow: str, **parameters: Any) -> str:
            given = {"content_id": "mix", "rest_endpoints": [f"{receiver.url}/cb"], **parameters}
            answer = await running.engine.jobs.submit(Submission("demo", workflow, given))
            job = await running.ended(int(answer["id"]), 60)
            assert not job.failed, job.error
            return str(dict(job.result or {})["message"])

        a, b = ({"source": f"{films.url}/{name}/master.m3u8"} for name in ("a", "b"))
        await made("vodremix", output_folder="mix", clips=[{**a, "start": 0.5, "frame_accurate": True}, b])
        channel = await made("mediatailor_channel_assembly", clips=[b, a])
        async with player_over(tmp_path / "data" / "storage" / "output" / "mix", installed) as player:
            for manifest in ("mix.m3u8", "mix.mpd"):
                opened = await player.open(manifest)
                assert abs(opened["duration"] - 4.5) < 0.15, manifest
                assert sorted(set(opened["heights"])) == [54, 90]
                watched = await player("watch", 3)
                assert (watched["shown"], watched["live"]) == ([YELLOW, GREY], False), manifest
            await player("open", channel)
            watched = await player("watch", 4)
            assert watched["live"]
            assert len(watched["shown"]) >= 2
            assert all(one + other == YELLOW + GREY for one, other in pairwise(watched["shown"]))
