"""Profiles: which there are, for whom, and what is wrong with their files."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from taskengine.domain.errors import InputFault, ResourceFault
from taskengine.media.profile_book import Profiles, parse_profile

LADDER = "name: {name}\nvideo:\n  - encoder: libx264\n    rungs:\n      - {{width: 640, height: 360, crf: {crf}, max_bitrate: 800000}}\n"


def written(folder: Path, name: str, crf: int = 23) -> Path:
    """A folder with a profile of this name."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(LADDER.format(name=name, crf=crf))
    return folder


def crf(profiles: Profiles, name: str, client: str) -> int:
    """The quality of its first rung: what tells one from another here."""
    return profiles.get(name, client).video[0].rungs[0].crf


def test_the_profiles_that_come_along_are_whole() -> None:
    """H.264, HEVC, AV1 and mixes, none of them faulty."""
    profiles = Profiles()
    assert profiles.faults == ()
    assert profiles.names("anybody") == ["AV1", "H264", "H264_AV1", "H264_H265", "H265"]
    mix = profiles.get("H264_H265", "anybody")
    assert [group.encoder for group in mix.video] == ["libx264", "libx265"]


def test_a_clients_own_profile_comes_before_that_of_the_house(tmp_path: Path) -> None:
    """Whichever folder it lies in; others do not see it."""
    house = written(tmp_path / "house", "H264", 30)
    written(house / "clients" / "acme", "H264", 18)
    written(house / "clients" / "acme", "MINE", 19)
    later = written(tmp_path / "later", "H264", 31)
    profiles = Profiles([house, later])
    assert (crf(profiles, "H264", "demo"), crf(profiles, "H264", "acme")) == (31, 18)
    assert crf(profiles, "MINE", "acme") == 19
    assert "MINE" not in profiles.names("demo")
    with pytest.raises(InputFault, match=r"there is no profile 'MIN'; there are: .*MINE.*; did you mean 'MINE'"):
        profiles.get("MIN", "acme")


def test_a_faulty_file_keeps_its_last_good_version(tmp_path: Path) -> None:
    """Its fault is told until it is mended; one that never was good is told of where it is asked for."""
    folder = written(tmp_path / "house", "HOUSE", 20)
    profiles = Profiles([folder])
    (folder / "HOUSE.yaml").write_text(LADDER.format(name="OTHER", crf=20))
    (folder / "NEVER.yaml").write_text("name: NEVER\n")
    (fault, never) = profiles.load()
    assert (fault.path, fault.message) == (f"{folder}/HOUSE.yaml:1", "its name is 'OTHER', not that of its file")
    assert (never.path, never.message) == (f"{folder}/NEVER.yaml:1", "video: Field required")
    assert crf(profiles, "HOUSE", "demo") == 20
    with pytest.raises(ResourceFault, match=r"NEVER.yaml:1: video: Field required"):
        profiles.get("NEVER", "demo")
    written(folder, "HOUSE", 21)
    os.utime(folder / "HOUSE.yaml", ns=(1, 1))
    (folder / "NEVER.yaml").unlink()
    assert profiles.load() == ()
    assert crf(profiles, "HOUSE", "demo") == 21


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    """What is configured and not there is a fault, not silence."""
    (fault,) = Profiles([tmp_path / "nowhere"]).faults
    assert "no such directory" in fault.message


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("{", ["x.yaml:2: no YAML"]),
        ("name: x\nname: x\n", ["x.yaml:2: the key 'name' is here twice"]),
        ("name: x\nvideo: []\n", ["x.yaml:2: video: at least one is needed"]),
        (
            LADDER.format(name="x", crf=60) + "    pixel_format: yuv420p10le\n    hdr: keep\naudio: {loudness: {integrated: 1}}\n",
            [
                "x.yaml:4: video.0.rungs: crf 60 is over 51, the most of libx264",
                "x.yaml:6: video.0.pixel_format: libx264 takes yuv420p",
                "x.yaml:7: video.0.hdr: libx264 cannot keep HDR",
                "x.yaml:8: audio.loudness.integrated: Input should be less than or equal to -5",
            ],
        ),
        (
            "name: x\nvideo:\n  - encoder: libx265\n    rungs:\n      - {width: 1, height: 2, crf: 9, max_bitrate: 3, profile: high}\n",
            ["x.yaml:4: video.0.rungs: profile 'high' is none of main, main10"],
        ),
        (
            LADDER.format(name="x", crf=20).replace("max_bitrate: 800000", "max_bitrate: 8, bitrate: 9"),
            ["x.yaml:5: video.0.rungs.0: bitrate must be at most max_bitrate (8)"],
        ),
        (LADDER.format(name="x", crf=20) + "chunk: {}\n", ["x.yaml:6: chunk: Extra inputs are not permitted"]),
    ],
)  # fmt: skip
def test_every_fault_of_a_file_has_its_line(text: str, faults: list[str]) -> None:
    """All at once."""
    with pytest.raises(ResourceFault) as caught:
        parse_profile(text, "x.yaml")
    for fault in faults:
        assert fault in str(caught.value)
    assert str(caught.value).count("x.yaml:") == len(faults)


def test_the_guides_profile_is_whole() -> None:
    """What a stranger copies is judged as a file is."""
    guide = Path(__file__).parents[3] / "docs" / "how-to" / "choose-a-profile.md"
    (text,) = re.findall(r"```yaml\n(.*?)```", guide.read_text(), re.DOTALL)
    assert parse_profile(text, "HOUSE.yaml").audio.downmix == "dialogue"
