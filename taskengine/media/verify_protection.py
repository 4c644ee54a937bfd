"""Is a protected set protected, and by its own keys? As `verify`: these functions read files; call them in a thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from taskengine.domain.keys import SYSTEM_IDS
from taskengine.media import dash, hls, hls_keys, mp4
from taskengine.media.drm import Encryption, by_track, protected_tracks
from taskengine.media.packager import INIT, MASTER, MPD, iframe_playlist
from taskengine.media.protection import AES, CBCS, FAIRPLAY, PLAYREADY, WIDEVINE
from taskengine.media.pssh import PsshFault, read_pssh
from taskengine.media.tracks import Track, TrackKind
from taskengine.media.verify import VerificationFault, expect, length, text_track, whole_file


def encrypted(folder: Path, encryption: Encryption) -> None:
    """Each track's init segment and the MPD name its scheme and its key, with the systems' boxes; no key is in them."""
    scheme = encryption.wanted.name
    named = dash.read_key_ids((folder / MPD).read_text(encoding="utf-8"))
    systems = {SYSTEM_IDS[system] for system in encryption.wanted.systems if system != FAIRPLAY}
    for name, key in by_track(encryption).items():
        found = _protection(folder / name / INIT, f"{name}/{INIT}")
        expect(f"{name}/{INIT}", f"{scheme} by {key.uuid}", f"{found.scheme} by {(found.key_id or b'').hex()}",
               holds=(found.scheme, found.key_id) == (scheme, key.key_id))  # fmt: skip
        there = {_system(box, f"{name}/{INIT}") for box in found.pssh}
        expect(f"{name}/{INIT}", f"PSSH boxes of {sorted(map(str, systems))}", sorted(map(str, there)),
               holds=systems <= there)  # fmt: skip
        expect(f"{MPD}, {name}", f"the key {key.uuid}", named.get(f"{name}/{INIT}"),
               holds=named.get(f"{name}/{INIT}") == key.uuid)  # fmt: skip
    for track in protected_tracks(encryption.media):
        _lines(folder, track, encryption)


def _protection(path: Path, what: str) -> mp4.TrackProtection:
    try:
        return mp4.read_protection(path)
    except mp4.BoxFault as error:
        raise VerificationFault(f"{what}: expected an init segment, found that {error}") from error


def _system(box: bytes, what: str) -> object:
    try:
        return read_pssh(box).system
    except PsshFault as error:
        raise VerificationFault(f"{what}: expected a PSSH box, found that {error}") from error


def _lines(folder: Path, track: Track, encryption: Encryption) -> None:
    """The playlist says of every system that HLS knows where its key is."""
    keys = hls_keys.read_keys((folder / f"{track.name}.m3u8").read_text(encoding="utf-8"))
    expected = {hls_keys.FAIRPLAY_FORMAT} if encryption.wanted.name == CBCS else set()
    formats = {_FORMATS[system] for system in encryption.wanted.systems if system in _FORMATS}
    found = {key.get("KEYFORMAT", hls_keys.IDENTITY) for key in keys}
    expect(f"{track.name}.m3u8", f"keys of {sorted(expected | formats)}", sorted(found),
           holds=expected | formats <= found)  # fmt: skip
    uri = encryption.uri_of(FAIRPLAY, track)
    named = [key["URI"] for key in keys if key.get("KEYFORMAT") == hls_keys.FAIRPLAY_FORMAT]
    expect(f"{track.name}.m3u8", f"FairPlay's key at {uri}", named, holds=not expected or named == [uri])


_FORMATS = {WIDEVINE: hls_keys.WIDEVINE_FORMAT, PLAYREADY: hls_keys.PLAYREADY_FORMAT}


def unlocked(folder: Path, pairs: Sequence[tuple[str, str]]) -> None:
    """What was decrypted differs from what is stored, of which it is every byte."""
    differ = []
    for locked, opened in pairs:
        whole_file(folder / opened, opened)
        try:
            before, after = mp4.media_data(folder / locked), mp4.media_data(folder / opened)
        except mp4.BoxFault as error:
            raise VerificationFault(f"{locked}: expected whole boxes, found that {error}") from error
        expect(locked, f"{len(before)} bytes of media when decrypted", len(after), holds=len(before) == len(after))
        differ.append(before != after)
    expect("first and last segments", "encrypted ones", "all of them clear", holds=any(differ))


def transport_set(folder: Path, encryption: Encryption) -> Mapping[str, Sequence[str]]:
    """A set of TS segments: the master names each track's playlist, these what is there, in full length, with their key.

    Returns track name → its first and last segment, whose decoding shows the rest.
    """
    tracks = encryption.media.tracks
    try:
        master = hls.read_master((folder / MASTER).read_text(encoding="utf-8"))
        found = {track.name: _transport(folder, track, encryption) for track in protected_tracks(encryption.media)}
    except (hls.PlaylistFault, OSError) as error:
        raise VerificationFault(f"{AES}: expected playlists, found that {error}") from error
    for track in encryption.media.of(TrackKind.TEXT):
        text_track(folder, track, encryption.media.duration)
    names = {f"{track.name}.m3u8" for track in tracks}
    named = {*master.variants, *master.renditions}
    expect(MASTER, f"the playlists {sorted(names)}", sorted(named), holds=names == named)
    return found


def _transport(folder: Path, track: Track, encryption: Encryption) -> Sequence[str]:
    name = f"{track.name}.m3u8"
    playlists = [name] if not (folder / iframe_playlist(track.name)).exists() else [name, iframe_playlist(track.name)]
    for each in playlists:
        text = (folder / each).read_text(encoding="utf-8")
        playlist = hls.read_media(text)
        expect(each, "an end", "none", holds=playlist.ended)
        for uri, _ in playlist.segments:
            whole_file(folder / uri, f"{each}, {uri}")
        named = [(key.get("METHOD"), key.get("URI")) for key in hls_keys.read_keys(text)]
        wanted = [("AES-128", encryption.uri_of(AES, track))]
        expect(each, wanted, named, holds=named == wanted)
    playlist = hls.read_media((folder / name).read_text(encoding="utf-8"))
    length(name, track.duration, playlist.duration, track.tolerance + 0.0005 * len(playlist.segments))
    uris = [uri for uri, _ in playlist.segments]
    return list(dict.fromkeys((uris[0], uris[-1])))
