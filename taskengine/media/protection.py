"""Which sets the protections of an asset need, and which of them the active manifests point into. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CLEAR, CENC, CBCS, AES = "clear", "cenc", "cbcs", "aes"
WIDEVINE, PLAYREADY, FAIRPLAY, COMMON = "widevine", "playready", "fairplay", "cenc"
_SHARED = (WIDEVINE, PLAYREADY, COMMON)  # systems that play both schemes


@dataclass(frozen=True, slots=True)
class WantedSet:
    """One set to make: the name of its folder, and the systems that hold licences for it."""

    name: str
    systems: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Active:
    """The sets that the active manifests point into; `dash` is None where no DASH player could play what is active."""

    hls: str
    dash: str | None

    @property
    def protection(self) -> str:
        """What the asset is called by: `clear`, or the set that its HLS master points into."""
        return self.hls


def wanted_sets(drm: Sequence[str], *, encrypt_all: bool = False) -> Sequence[WantedSet]:
    """The sets of these protections, the clear one first.

    Clear is made where it is listed or nothing is. `encrypt_all` makes none that is clear; where nothing else is listed,
    one for PlayReady.
    """
    systems = [system for system in _SHARED if system in drm]
    found = [WantedSet(CLEAR)] if not encrypt_all and (not drm or CLEAR in drm) else []
    if encrypt_all and not set(drm) - {CLEAR}:
        systems = [PLAYREADY]
    if systems:
        found.append(WantedSet(CENC, systems))
    if FAIRPLAY in drm:
        found.append(WantedSet(CBCS, [FAIRPLAY, *systems]))
    if AES in drm:
        found.append(WantedSet(AES))
    return found


def protections(sets: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """The protections that these sets (with their systems) are: what `wanted_sets` makes the same sets of."""
    found = [name for name in (CLEAR, AES) if name in sets]
    systems = [system for name in (CENC, CBCS) for system in sets.get(name, ())]
    return [*found, *dict.fromkeys(systems)]


def active_sets(there: Iterable[str], *, protected: bool) -> Active:
    """What becomes active of the sets that are there: the protected ones where that is asked for (or all there is).

    HLS and DASH each name what their players can use: Apple's play `cbcs` and `aes` alone; `aes` is no DASH.
    """
    names = set(there)
    if (not protected and CLEAR in names) or names == {CLEAR}:
        return Active(CLEAR, CLEAR)
    hls = next(name for name in (CBCS, AES, CENC) if name in names)
    return Active(hls, next((name for name in (CENC, CBCS) if name in names), None))
