"""What the tutorial and the how-to guides tell to type works: their commands are run as they stand there."""

from __future__ import annotations

from pathlib import Path

from tests.support.pages import make_film, run_page


def test_the_tutorials_commands_work_as_they_stand(tmp_path: Path) -> None:
    """In order, in an empty directory with a film, each ending with 0."""
    make_film(tmp_path / "film.mp4")

    said = run_page("tutorial.md", tmp_path)

    assert "Hello, Ann" in said
    assert "job 3 completed" in said


def test_a_stranger_can_write_a_workflow_by_the_guide(tmp_path: Path) -> None:
    """The workflow of the page makes its file though an optional step fails, and fails where there is no source."""
    make_film(tmp_path / "film.mp4")

    said = run_page("how-to/write-a-workflow.md", tmp_path)

    assert "job 1 completed" in said
    assert "job 2 failed" in said
    assert (tmp_path / "data/storage/output/downloads/film/film.mp4").stat().st_size > 10_000


def test_a_stranger_can_write_a_handler_by_the_guide(tmp_path: Path) -> None:
    """The handler of the page is installed as a package of its own, found, and measures the film."""
    make_film(tmp_path / "film.mp4")

    said = run_page("how-to/write-a-handler.md", tmp_path)

    assert "mean -" in said
    assert "has no sound" in said
