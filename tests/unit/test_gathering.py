"""Calls that are written together: what shares a write, what fails alone, what is taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from taskengine.domain.errors import StoreUnavailable, UnknownState
from taskengine.stores.gathering import Gathered


class Book:
    """Notes each write; the first one lasts until it is let go."""

    def __init__(self, *, most: int = 10) -> None:
        self.writes: list[list[int]] = []
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.away = False
        self.add = Gathered(self._write, most=most)

    async def _write(self, given: Sequence[int]) -> Sequence[str]:
        self.writes.append(list(given))
        self.begun.set()
        await self.go_on.wait()
        if self.away:
            raise StoreUnavailable("away")
        if 13 in given:
            raise UnknownState("13 is refused")
        return [f"written {one}" for one in given]


async def begun(book: Book, *numbers: int) -> list[asyncio.Task[str]]:
    """A write of the first number, behind which the others wait."""
    calls = [asyncio.create_task(book.add(numbers[0]))]
    await book.begun.wait()
    calls += [asyncio.create_task(book.add(number)) for number in numbers[1:]]
    await asyncio.sleep(0)
    return calls


async def test_what_comes_during_a_write_shares_the_next_ones() -> None:
    """In its order, so many together as may be, each with its own answer."""
    book = Book(most=3)
    calls = await begun(book, 1, 2, 3, 4, 5)
    book.go_on.set()
    assert await asyncio.gather(*calls) == [f"written {number}" for number in range(1, 6)]
    assert book.writes == [[1], [2, 3, 4], [5]]
    assert await book.add(6) == "written 6"


async def test_what_is_refused_fails_alone() -> None:
    """Those that were written with it are written without it."""
    book = Book()
    calls = await begun(book, 1, 2, 13, 4)
    book.go_on.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["written 1", "written 2", "13 is refused", "written 4"]
    assert book.writes == [[1], [2, 13, 4], [2], [13], [4]]


async def test_a_store_that_is_away_is_asked_once_for_all() -> None:
    """Each caller hears of it."""
    book = Book()
    book.away = True
    calls = await begun(book, 1, 2, 3)
    book.go_on.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 3
    assert book.writes == [[1], [2, 3]]


async def test_a_caller_that_gives_up_takes_back_what_has_not_begun() -> None:
    """And leaves what has: a write is whole or not at all."""
    book = Book()
    calls = await begun(book, 1, 2, 3)
    calls[0].cancel()
    calls[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await calls[1]
    book.go_on.set()
    assert await calls[2] == "written 3"
    assert book.writes == [[1], [3]]
