"""What follows from `needs` alone: order, ancestors, cycles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

Needs = Mapping[str, Sequence[str]]


def order(needs: Needs) -> list[str]:
    """The names so that each comes after those that it needs; else in the order in which they were given.

    Unknown names are passed over. Raises CycleError (see `cycle`).
    """
    sorter = TopologicalSorter({name: _known(needs, name) for name in needs})
    sorter.prepare()
    place = {name: number for number, name in enumerate(needs)}
    result: list[str] = []
    while sorter.is_active():
        for name in sorted(sorter.get_ready(), key=place.__getitem__):
            result.append(name)
            sorter.done(name)
    return result


def cycle(needs: Needs) -> list[str]:
    """The names of one cycle, its first repeated at the end; [] where there is none."""
    try:
        order(needs)
    except CycleError as error:
        return list(reversed(error.args[1]))  # graphlib names the needed first
    return []


def ancestors(needs: Needs, name: str) -> set[str]:
    """Every step that `name` needs, directly or through others."""
    found: set[str] = set()
    waiting = _known(needs, name)
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(_known(needs, current))
    return found


def _known(needs: Needs, name: str) -> list[str]:
    return [need for need in needs.get(name, ()) if need in needs]
