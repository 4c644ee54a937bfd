"""Which tracks share a key."""

from __future__ import annotations

from enum import StrEnum

from taskengine.domain.keys import Label


class KeysPer(StrEnum):
    """One key for all tracks; one for pictures and one for sound; one for each class of resolution and one for sound."""

    ASSET = "asset"
    KIND = "kind"
    RESOLUTION = "resolution"

    def shared(self, label: Label) -> str:
        """The name of the key of a track with this label."""
        match self:
            case KeysPer.ASSET:
                return "ALL"
            case KeysPer.KIND:
                return "AUDIO" if label is Label.AUDIO else "VIDEO"
            case KeysPer.RESOLUTION:
                return label.value
