"""The text tracks of a packaged set: a WebVTT file and an HLS playlist each, never encrypted; these read and write files.

Packager is not given them: its playlists would end with the last cue's segment, it takes a language's subtitles for the
default, and it knows no text beside TS segments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from taskengine.media import dash, hls_media, wall_clock
from taskengine.media.captions import vtt
from taskengine.media.packager import MASTER, MPD
from taskengine.media.tracks import Media, TrackKind, text_file


def describe(folder: Path, media: Media, texts: Mapping[str, str], begin: float | None = None) -> None:
    """Put the text tracks (`texts`: track name → WebVTT) into a set, and name and mark all tracks in its manifests.

    `begin`: when the video begins on the clock of the segments, in seconds; None: as the MPD says, where there is one.
    """
    manifest, master = folder / MPD, folder / MASTER
    if manifest.is_file():
        described = dash.described(manifest.read_text(encoding="utf-8"), media)
        manifest.write_text(described, encoding="utf-8", newline="\n")
        begin = dash.begin(described) if begin is None else begin
    master.write_text(hls_media.described(master.read_text(encoding="utf-8"), media), encoding="utf-8", newline="\n")
    for track in media.of(TrackKind.TEXT):
        file = text_file(track.name)
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(vtt.mapped(texts[track.name], begin or 0.0), encoding="utf-8", newline="\n")
        playlist = hls_media.text_playlist(file, max(media.duration, 0.001))
        (folder / f"{track.name}.m3u8").write_text(playlist, encoding="utf-8", newline="\n")
    if media.clock:
        _tell_time(folder, media)


def _tell_time(folder: Path, media: Media) -> None:
    """The time of day in every manifest."""
    if (folder / MPD).is_file():
        told = wall_clock.in_mpd((folder / MPD).read_text(encoding="utf-8"), media.clock)
        (folder / MPD).write_text(told, encoding="utf-8", newline="\n")
    for track in media.tracks:
        path = folder / f"{track.name}.m3u8"
        if path.is_file():
            told = wall_clock.in_playlist(path.read_text(encoding="utf-8"), media.clock)
            path.write_text(told, encoding="utf-8", newline="\n")
