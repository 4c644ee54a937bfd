"""Keys in HLS playlists, and I-frame playlists of segments that are encrypted whole."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

_OF_KEY_FRAMES = {"BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS", "RESOLUTION"}
IDENTITY = "identity"  # the KEYFORMAT of a key that is fetched as it is
FAIRPLAY_FORMAT = "com.apple.streamingkeydelivery"
WIDEVINE_FORMAT = "urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"
PLAYREADY_FORMAT = "com.microsoft.playready"


_ATTRIBUTES = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^",]*)')


def with_key_uris(text: str, uris: Mapping[str, str]) -> str:
    """The media playlist with the key of each format at its own URI (`uris`: KEYFORMAT → URI; without one, AES-128's, it is
    identity). Formats that have none, but those whose URI holds the data themselves, are left out.

    Where `identity` has a URI and packager wrote no line for it (it does not for `cenc`), one is added.
    """
    lines, named = [], False
    for line in text.splitlines():
        if not line.startswith("#EXT-X-KEY:"):
            lines.append(line)
            continue
        form = _attribute(line, "KEYFORMAT") or IDENTITY
        named = named or form == IDENTITY
        if form in uris:
            lines.append(line.replace(f'URI="{_attribute(line, "URI")}"', f'URI="{uris[form]}"'))
        elif _attribute(line, "URI").startswith("data:"):
            lines.append(line)
    if IDENTITY in uris and not named:
        place = next(index for index, line in enumerate(lines) if line.startswith("#EXT-X-MAP:")) + 1
        lines.insert(place, f'#EXT-X-KEY:METHOD=SAMPLE-AES-CTR,URI="{uris[IDENTITY]}",KEYFORMAT="{IDENTITY}"')
    return "\n".join(lines) + "\n"


def with_data(text: str, data: Mapping[str, str]) -> str:
    """The media playlist with the data that stand in the URIs of these formats (`data`: KEYFORMAT → base64) replaced."""
    lines = []
    for line in text.splitlines():
        own = data.get(_attribute(line, "KEYFORMAT")) if line.startswith("#EXT-X-KEY:") else None
        uri = _attribute(line, "URI")
        lines.append(line if own is None else line.replace(uri, f"{uri.partition('base64,')[0]}base64,{own}"))
    return "\n".join(lines) + "\n"


def read_keys(text: str) -> Sequence[Mapping[str, str]]:
    """The attributes of a media playlist's EXT-X-KEY tags: METHOD, URI, IV, KEYFORMAT …"""
    keys = [line.removeprefix("#EXT-X-KEY:") for line in text.splitlines() if line.startswith("#EXT-X-KEY:")]
    return [{name: value.strip('"') for name, value in _ATTRIBUTES.findall(line)} for line in keys]


def as_key_frames(text: str) -> str:
    """A media playlist whose segments are a key frame each, as an I-frame playlist."""
    return text.replace("#EXT-X-PLAYLIST-TYPE:VOD\n", "#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-I-FRAMES-ONLY\n", 1)


def with_key_frames(master: str, trick_master: str) -> str:
    """The master with I-frame playlists: the variants of a master that packager wrote of key frames alone."""
    entries = []
    lines = trick_master.splitlines()
    for line, uri in pairwise(lines):
        if line.startswith("#EXT-X-STREAM-INF:"):
            attributes = _ATTRIBUTES.findall(line)
            kept = [f"{name}={value}" for name, value in attributes if name in _OF_KEY_FRAMES]
            entries.append(f'#EXT-X-I-FRAME-STREAM-INF:{",".join(kept)},URI="{uri}"')
    return "\n".join([master.rstrip(), "", *entries]) + "\n"


def _attribute(line: str, name: str) -> str:
    match = re.search(rf'[:,]{name}="([^"]*)"', line)
    return match[1] if match else ""
