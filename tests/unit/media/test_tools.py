"""Finding the binaries, and what `doctor` says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskengine.domain.errors import ResourceFault
from taskengine.media.tools import describe, find_tools, parse_names, parse_version, versions
from taskengine.ports import Tools
from taskengine.process import SubprocessRunner


def test_the_wheels_bring_all_three() -> None:
    """Nothing needs to be installed."""
    tools = find_tools()
    assert all(Path(path).is_file() for path in (tools.ffmpeg, tools.ffprobe, tools.packager))


def test_a_configured_program_that_is_not_there_is_named() -> None:
    """With the path that was given."""
    with pytest.raises(ResourceFault, match="packager: the configured program '/nowhere/packager' is not there"):
        find_tools(packager="/nowhere/packager")


def test_a_configured_program_is_taken(tmp_path: Path) -> None:
    """Instead of the wheel's."""
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_tools(ffmpeg=str(program)).ffmpeg == str(program)


async def test_the_wheels_lack_nothing(tmp_path: Path) -> None:
    """Versions of all, encoders and filters of ffmpeg."""
    reports = await describe(find_tools(), SubprocessRunner(), tmp_path)
    assert versions(reports).keys() == {"ffmpeg", "ffprobe", "packager"}
    assert [report.missing for report in reports] == [(), (), ()]
    assert "libx264" in reports[0].encoders


async def test_what_cannot_be_started_or_lacks_an_encoder_is_told(tmp_path: Path) -> None:
    """A fault for one, what is missing for the other."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        '#!/bin/sh\ncase "$*" in *-version*) echo "ffmpeg version 1";; *) echo " V....D libx264 x";; esac\n'
    )
    program.chmod(0o755)
    reports = await describe(Tools(str(program), "/nowhere/ffprobe", "/bin/false"), SubprocessRunner(), tmp_path)
    assert "encoder aac" in reports[0].missing
    assert "encoder libx264" not in reports[0].missing
    assert reports[1].fault is not None
    assert reports[2].fault is not None


def test_listings_are_read() -> None:
    """The second column; the first line's version."""
    assert parse_names(" V....D libx264   H.264\n TS bwdif  V->V\n ..S tile  V->V\nEncoders:\n") == {
        "libx264",
        "bwdif",
        "tile",
    }
    assert parse_version("ffmpeg version n9.0.2-17 Copyright") == "n9.0.2-17"
    assert parse_version("hello") is None
