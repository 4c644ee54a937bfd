"""The loader of SQL files."""

from __future__ import annotations

import dataclasses

import pytest

from taskengine.domain.job import Job, Task
from taskengine.stores import queries


def test_statements_are_found_by_name() -> None:
    """Comments of the file stand before the first header; semicolons at the end are no part of a statement."""
    text = "-- About this file.\n\n-- name: one --\nSELECT 1;\n\n-- name: two --\n-- Why.\nSELECT 2\nFROM x\n"
    assert queries.parse(text) == {"one": "SELECT 1", "two": "-- Why.\nSELECT 2\nFROM x"}


def test_a_statement_may_use_another() -> None:
    """Lists of columns are written once."""
    text = "-- name: columns --\na, b\n-- name: all --\nSELECT {columns} FROM x"
    assert queries.merge([text])["all"] == "SELECT a, b FROM x"


@pytest.mark.parametrize(("texts", "reason"), [
    (["SELECT 1\n-- name: a --\nSELECT 2"], "before the first"),
    (["-- name: a --\nSELECT 1\n-- name: a --\nSELECT 2"], "two statements are named 'a'"),
    (["-- name: a --\nSELECT 1", "-- name: a --\nSELECT 2"], r"two files name the statements \['a'\]"),
    (["-- name: a --\nSELECT {b}"], "no statement is named 'b'"),
])  # fmt: skip
def test_faults_of_the_files_are_told(texts: list[str], reason: str) -> None:
    """A name is given once, and what is used exists."""
    with pytest.raises(ValueError, match=reason):
        queries.merge(texts)


@pytest.mark.parametrize(("name", "record", "renamed"), [
    ("job_columns", Job, {"after": "awaited"}), ("task_columns", Task, {"index": "item_index"}),
])  # fmt: skip
def test_columns_stand_in_the_order_of_the_records_fields(name: str, record: type, renamed: dict[str, str]) -> None:
    """Rows become records by position."""
    columns = [column.strip().split(".")[-1] for column in queries.load("sqlite")[name].split(",")]
    assert columns == [renamed.get(field.name, field.name) for field in dataclasses.fields(record)]
