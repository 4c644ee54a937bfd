"""Whose fault it is when a program fails."""

from __future__ import annotations

import pytest

from taskengine.domain.errors import ErrorKind
from taskengine.handlers.support import process_fault
from taskengine.ports import ProcessResult


def ended(exit_code: int, stderr: str = "[error] Cannot parse") -> ProcessResult:
    """A program that failed."""
    return ProcessResult(argv=("ffmpeg",), exit_code=exit_code, stdout=b"", stderr_tail=stderr, seconds=0.1)


@pytest.mark.parametrize(
    ("exit_code", "stderr", "of_input", "kind"),
    [
        (187, "[error] Cannot parse", True, ErrorKind.INPUT),
        (187, "[error] Cannot parse", False, ErrorKind.INTERNAL),
        (-9, "", True, ErrorKind.INTERNAL),
        (255, "Exiting normally, received signal 15.", True, ErrorKind.INTERNAL),
        (228, "av_interleaved_write_frame(): No space left on device", True, ErrorKind.RESOURCE),
        (
            2,
            "Cannot close file clear/video_1/00001.m4s, possibly file permission issue or running out of disk space.",
            True,
            ErrorKind.RESOURCE,
        ),
    ],
)
def test_a_program_that_gives_up_over_media_is_not_tried_again(
    exit_code: int, stderr: str, *, of_input: bool, kind: ErrorKind
) -> None:
    """What a signal or a full disk ended is; what would fail again alike is the input's fault."""
    assert process_fault("encoding", ended(exit_code, stderr), of_input=of_input).kind is kind
