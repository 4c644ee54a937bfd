"""Media that attacks, made on the spot: small files that want other files, the network, memory or time."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tests.support.media import AAC, H264, ffmpeg, picture, sound

Make = Callable[[Path, str], None]  # (folder to make it in, path of what it is after)
_TABLES = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_REFERENCES = (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref")
_PLACES = {
    "absolute": "{secret}",
    "file": "file://{secret}",
    "upwards": "../../../../outside/secret.mp4",
    "concat": "concat:{secret}|{secret}",
    "subfile": "subfile,,start,0,end,64,,:{secret}",
    "data": "data:video/mp4;base64,AAAA",
    "itself": "film.mp4",
    "network": "http://127.0.0.1:9/a.ts",
}
_PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{uri}\n#EXT-X-ENDLIST\n"
_MPD = "<?xml version='1.0'?><MPD><Period><AdaptationSet><Representation><BaseURL>{secret}</BaseURL></Representation></AdaptationSet></Period></MPD>"
_ENTITY = "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file://{secret}'>]><MPD>&x;</MPD>"


def attacks() -> Mapping[str, Make]:
    """Name → how it is made."""
    playlists = {
        f"playlist {name}": _text(f"film.{kind}", _PLAYLIST.format(uri=uri))
        for (name, uri), kind in zip(
            _PLACES.items(), ("mp4", "ts", "mkv", "mov", "avi", "mp3", "mp4", "m4v"), strict=True
        )
    }
    return {
        **playlists,
        "a million lines": _text("film.ts", "#EXTM3U\n" + "#EXTINF:1,\n{secret}\n" * 500_000),
        "ffconcat as mp4": _text("film.mp4", "ffconcat version 1.0\nfile '{secret}'\nduration 5\n"),
        "ffconcat as mkv": _text("film.mkv", "ffconcat version 1.0\nfile 'file:{secret}'\n"),
        "mpd": _text("film.mp4", _MPD),
        "entity": _text("film.webm", _ENTITY),
        "avi subtitle": _avi_with_playlist,
        "hundreds of tracks": _hundreds_of_tracks,
        "a huge picture": _huge_picture,
        "a table of samples without end": _endless_samples,
        "a box without end": _endless_box,
        "zeros": _zeros,
    }


def external_reference(folder: Path, secret: str) -> None:
    """An MP4 whose media, its index says, is in another file."""
    ffmpeg(folder, *picture("160x90", seconds=1), *H264, "film.mp4")
    data = (folder / "film.mp4").read_bytes()
    at, size = _find(data, *_REFERENCES)
    dref = _box(b"dref", bytes(4), struct.pack(">I", 1), _box(b"url ", bytes(4), f"file://{secret}\0".encode()))
    changed = bytearray(data[:at] + dref + data[at + size :])
    for depth in range(1, len(_REFERENCES)):
        where, old = _find(data, *_REFERENCES[:depth])
        struct.pack_into(">I", changed, where, old + len(dref) - size)
    (folder / "film.mp4").write_bytes(changed)


def _text(name: str, content: str) -> Make:
    def make(folder: Path, secret: str) -> None:
        (folder / name).write_text(content.replace("{secret}", secret))

    return make


# ------------------------------------------------------------------------------------------------------------ boxes


def _box(kind: bytes, *payload: bytes) -> bytes:
    data = b"".join(payload)
    return struct.pack(">I4s", len(data) + 8, kind) + data


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        yield kind, start, size
        start += max(size, 8)


def _find(data: bytes, *path: bytes) -> tuple[int, int]:
    """(where a box begins, its size)."""
    at, size = -8, len(data) + 8
    for kind in path:
        at, size = next((here, long) for found, here, long in _boxes(data, at + 8, at + size) if found == kind)
    return at, size


def _hundreds_of_tracks(folder: Path, _secret: str) -> None:
    ffmpeg(folder, *sound(0.1), *AAC, "film.mp4")
    data = (folder / "film.mp4").read_bytes()
    (moov, moov_size), (at, size) = _find(data, b"moov"), _find(data, b"moov", b"trak")
    track = data[at : at + size]
    number = track.index(b"tkhd") + 16
    copies = b"".join(track[:number] + struct.pack(">I", one) + track[number + 4 :] for one in range(2, 401))
    index = struct.pack(">I", moov_size + len(copies)) + data[moov + 4 : at + size] + copies
    (folder / "film.mp4").write_bytes(data[:moov] + index + data[at + size :])


def _endless_samples(folder: Path, _secret: str) -> None:
    ffmpeg(folder, *picture("160x90", seconds=1), *H264, "film.mp4")
    data = bytearray((folder / "film.mp4").read_bytes())
    struct.pack_into(">II", data, _find(bytes(data), *_TABLES, b"stsz")[0] + 12, 1, 0x7FFFFFFF)
    struct.pack_into(">III", data, _find(bytes(data), *_TABLES, b"stts")[0] + 12, 1, 0x7FFFFFFF, 512)
    (folder / "film.mp4").write_bytes(data)


def _endless_box(folder: Path, _secret: str) -> None:
    """Its media goes on for 8 exabytes, and its index would follow."""
    head = _box(b"ftyp", b"isom", bytes(4), b"isom")
    (folder / "film.mp4").write_bytes(head + struct.pack(">I4sQ", 1, b"mdat", 1 << 62) + bytes(4096))


def _zeros(folder: Path, _secret: str) -> None:
    """Four gigabytes that take no room."""
    with (folder / "film.mp3").open("wb") as file:
        file.truncate(4 << 30)


def _huge_picture(folder: Path, _secret: str) -> None:
    """36 megapixels in a few kilobytes."""
    ffmpeg(folder, "-f", "lavfi", "-i", "color=black:s=8192x4608:r=25:d=0.04", *H264, "film.mp4")


def _avi_with_playlist(folder: Path, secret: str) -> None:
    """A subtitle of an AVI that is a playlist."""
    playlist = f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:10.0,\nconcat:file://{secret}|file://{secret}\n".encode()
    subtitle = b"GAB2\0" + struct.pack("<HI", 2, 2) + b"x\0" + struct.pack("<HI", 4, len(playlist)) + playlist
    streams = [_stream(b"vids", b"MJPG", _bitmap()), _stream(b"txts", bytes(4), b"")]
    head = _chunk(b"avih", struct.pack("<10I", 40000, 0, 0, 0x10, 1, 0, 2, 0, 320, 240) + bytes(16))
    body = b"AVI " + _list(b"hdrl", head, *streams) + _list(b"movi", _chunk(b"01tx", subtitle))
    (folder / "film.avi").write_bytes(_chunk(b"RIFF", body))


def _stream(kind: bytes, codec: bytes, form: bytes) -> bytes:
    head = struct.pack("<4s4sIHHIIIIIIII4h", kind, codec, 0, 0, 0, 0, 1, 25, 0, 1, 0, 0, 0, 0, 0, 320, 240)
    return _list(b"strl", _chunk(b"strh", head), _chunk(b"strf", form))


def _bitmap() -> bytes:
    return struct.pack("<IiiHH4sIiiII", 40, 320, 240, 1, 24, b"MJPG", 0, 0, 0, 0, 0)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def _list(kind: bytes, *inner: bytes) -> bytes:
    return _chunk(b"LIST", kind + b"".join(inner))
