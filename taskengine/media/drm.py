"""How a set is encrypted: which key a track has, and what packager is told of it. Pure.

Keys themselves go into a file of flags alone: command lines can be read by others on the machine, and are kept beside the
asset.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from taskengine.domain.keys import (
    SYSTEM_IDS,
    ContentKey,
    KeyFault,
    KeySet,
    Label,
    label_of_picture,
    parse_key,
    parse_key_id,
)
from taskengine.media.protection import AES, CBCS, COMMON, FAIRPLAY, PLAYREADY, WIDEVINE, WantedSet
from taskengine.media.pssh import PsshFault, read_pssh
from taskengine.media.tracks import Media, Track, TrackKey, TrackKind

_PACKAGER_SYSTEMS = {WIDEVINE: "Widevine", PLAYREADY: "PlayReady", FAIRPLAY: "FairPlay", COMMON: "CommonSystem"}
_GIVEN = UUID("1c7f3c1e-8a1f-5d0c-a3f5-0f5f6d5f1f0e")  # namespace of the ids of keys that clients give
_PLACEHOLDER = "skd://key"  # in playlists until each has its own: it may carry a token
_TS_CODECS = {TrackKind.VIDEO: {"h264"}, TrackKind.AUDIO: {"aac", "ac3", "eac3"}}


@dataclass(frozen=True, slots=True)
class Encryption:
    """A set with the keys of its tracks. `flags`: the plain name of the file of flags that has the keys."""

    wanted: WantedSet
    keys: KeySet
    media: Media

    @property
    def flags(self) -> str:
        """The file that has the keys while packager reads it."""
        return f"{self.wanted.name}.flags"

    def key_of(self, track: Track) -> ContentKey:
        """The key of a track."""
        return self.keys.keys[label_of(track)]

    @property
    def track_keys(self) -> Sequence[TrackKey]:
        """Which key each track has, without the keys."""
        return [
            TrackKey(track.name, key.label, key.key_id.hex(), checksum(key))
            for track in protected_tracks(self.media)
            for key in [self.key_of(track)]
        ]

    def uri_of(self, system: str, track: Track) -> str | None:
        """Where HLS players of a system get a track's key."""
        return self.keys.key_uris.get(system, {}).get(self.key_of(track).key_id)


def checksum(key: ContentKey) -> str:
    """PlayReady's checksum of a key: the beginning of its id, as a GUID, encrypted by it."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # takes a while to load

    encryptor = Cipher(algorithms.AES(key.key), modes.ECB()).encryptor()  # noqa: S305 - one block, as PlayReady defines it
    return encryptor.update(UUID(bytes=key.key_id).bytes_le)[:8].hex()


def protected_tracks(media: Media) -> Sequence[Track]:
    """What is encrypted: pictures and sound."""
    return [track for track in media.tracks if track.kind in _TS_CODECS]


def label_of(track: Track) -> Label:
    """The label of a track, which its key goes by."""
    if track.kind is TrackKind.AUDIO:
        return Label.AUDIO
    return label_of_picture(track.width or 0, track.height or 0)


def transport_tracks(media: Media) -> tuple[Sequence[Track], Sequence[Track]]:
    """(the tracks that TS segments can carry, those they cannot)."""
    fits = [track for track in media.tracks if track.codec in _TS_CODECS.get(track.kind, {track.codec})]
    return fits, [track for track in media.tracks if track not in fits]


def encryption_argv(encryption: Encryption) -> list[str]:
    """What packager is told in its command line."""
    scheme = "aes128" if encryption.wanted.name == AES else encryption.wanted.name
    argv = ["--enable_raw_key_encryption", "--protection_scheme", scheme, "--clear_lead", "0"]
    if encryption.wanted.name in {AES, CBCS}:
        argv += ["--hls_key_uri", _PLACEHOLDER]
    if encryption.wanted.name == AES:
        return [*argv, f"--flagfile={encryption.flags}"]
    boxes = given_boxes(encryption.keys, encryption.wanted.systems)
    given = {read_pssh(box).system for box in boxes}
    systems = [system for system in encryption.wanted.systems if SYSTEM_IDS[system] not in given]
    argv += ["--protection_systems", ",".join(_PACKAGER_SYSTEMS[system] for system in systems)] if systems else []
    argv += ["--pssh", b"".join(boxes).hex()] if boxes else []
    if encryption.keys.playready_data and PLAYREADY in systems:
        argv += ["--playready_extra_header_data", encryption.keys.playready_data]
    return [*argv, f"--flagfile={encryption.flags}"]


def given_boxes(keys: KeySet, systems: Iterable[str]) -> Sequence[bytes]:
    """The PSSH boxes that the provider has made for these systems, each once. Raises KeyFault where one is none."""
    wanted = {SYSTEM_IDS[system] for system in systems}
    boxes = dict.fromkeys(box for each in keys.pssh.values() for box in each)
    try:
        return [box for box in boxes if read_pssh(box).system in wanted]
    except PsshFault as error:
        raise KeyFault(f"a PSSH of the key provider: {error}") from error


def key_flags(keys: Iterable[ContentKey], *, constant: bool = False) -> str:
    """The content of the file of flags: the keys, each once for each of its labels.

    `constant`: with the initialization vector that goes with each key, in place of one by chance: `cbcs` has it in the init
    segment, so that segments that were encrypted apart have the same. For counters (`cenc`) it must be another each time.
    """
    entries = dict.fromkeys(
        f"label={key.label}:key_id={key.key_id.hex()}:key={key.key.hex()}"
        + (f":iv={hashlib.sha256(b'constant iv' + key.key_id).hexdigest()[:32]}" if constant else "")
        for key in keys
    )
    return f"--keys={','.join(entries)}\n"


def given_key(text: str, wanted: WantedSet, content_id: str, media: Media) -> KeySet:
    """The key that a client gives for all tracks: 32 hex digits or base64, `<key id>:` before it or not."""
    key_id, colon, key = text.strip().rpartition(":")
    made = uuid5(_GIVEN, content_id).bytes
    found = ContentKey("ALL", parse_key_id(key_id, "its key id") if colon else made, parse_key(key, "it"))
    uris = {FAIRPLAY: {found.key_id: f"skd://{found.key_id.hex()}"}} if FAIRPLAY in wanted.systems else {}
    return KeySet({label_of(track): found for track in protected_tracks(media)}, uris)


def own_boxes(encryption: Encryption, track: Track) -> Mapping[str, bytes]:
    """System → the box that the provider has made for this track's key."""
    names = {SYSTEM_IDS[system]: system for system in encryption.wanted.systems}
    boxes = encryption.keys.pssh.get(encryption.key_of(track).key_id, ())
    return {names[system]: box for box in boxes if (system := read_pssh(box).system) in names}


def hls_data(system: str, box: bytes) -> str:
    """What HLS says of a box, in base64: all of it, of PlayReady's its object alone."""
    return base64.b64encode(read_pssh(box).data if system == PLAYREADY else box).decode()


def by_track(encryption: Encryption) -> Mapping[str, ContentKey]:
    """Track name → key."""
    return {track.name: encryption.key_of(track) for track in protected_tracks(encryption.media)}
