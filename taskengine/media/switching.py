"""What it means to turn an asset's protection on or off. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from taskengine.domain.errors import InputFault
from taskengine.media.protection import CLEAR, Active, active_sets, protections, wanted_sets
from taskengine.media.published import Published


@dataclass(frozen=True, slots=True)
class Switch:
    """What becomes active, the sets to make before (`missing`), and all protections of the asset then (`drm`)."""

    active: Active
    missing: Sequence[str]
    drm: Sequence[str]


def decide(published: Published, asked: Sequence[str]) -> Switch:
    """The other manifest becomes the active one: the protected where clear is, clear where the protected is.

    `asked` says of which protections the protected one is: where these are not what is active, they become it, also from
    another protection. `clear` alone means clear. InputFault where nothing says what to make.
    """
    protected = [each for each in asked if each != CLEAR]
    there = protections({name: each.systems for name, each in published.sets.items()})
    if not protected:
        names = [name for name in published.sets if name != CLEAR]
        if asked or published.active.protection != CLEAR:
            return _clear(published, there)
        if not names:
            raise InputFault("drm: the asset has no protected manifest: say of which protections one is to be made")
        return Switch(active_sets(names, protected=True), [], there)
    wanted = wanted_sets(protected)
    missing = [each.name for each in wanted if not _has(published, each.name, each.systems)]
    active = active_sets([each.name for each in wanted], protected=True)
    if active == published.active and not missing:
        return _clear(published, there)
    return Switch(active, missing, list(dict.fromkeys([*there, *protected])))


def _clear(published: Published, there: Sequence[str]) -> Switch:
    missing = [] if CLEAR in published.sets else [CLEAR]
    return Switch(Active(CLEAR, CLEAR), missing, list(dict.fromkeys([CLEAR, *there])))


def _has(published: Published, name: str, systems: Sequence[str]) -> bool:
    return name in published.sets and set(systems) <= set(published.sets[name].systems)
