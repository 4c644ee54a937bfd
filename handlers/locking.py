"""Encrypted copies of segments that stay what they are: as long, at the same times, with the same messages beside them."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from taskengine.domain.errors import InputFault
from taskengine.domain.keys import ContentKey, KeyFault
from taskengine.handlers.protected import tell_where_keys_are
from taskengine.handlers.protecting import run_with_keys
from taskengine.handlers.support import in_thread, plain_command, process_fault, run
from taskengine.media import packager
from taskengine.media.archive import boxes, rewriting, transport
from taskengine.media.archive.naming import short_digest
from taskengine.media.drm import Encryption, checksum, encryption_argv
from taskengine.media.mp4 import BoxFault
from taskengine.media.protection import AES, CBCS
from taskengine.media.tracks import Media, Track
from taskengine.media.verify import VerificationFault, expect
from taskengine.ports import TaskContext

_WHOLE_S = 100_000.0  # longer than any segment: packager must not cut one


@dataclass(frozen=True, slots=True)
class Signal:
    """How manifests tell the protection of a track: EXT-X-KEY lines, ContentProtection elements; its init segment."""

    init: bytes
    keys: Sequence[str]
    protection: Sequence[str]


@dataclass(slots=True)
class Lock:
    """The encryption of one set for one archive. Packager runs once at a time: its file of keys has one name."""

    context: TaskContext
    encryption: Encryption
    number: int  # among those of a task: for names in scratch
    turn: asyncio.Lock
    commands: list[Sequence[str]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether segments are MPEG-TS, encrypted whole, as files."""
        return self.encryption.wanted.name == AES

    def keyed(self, track: Track) -> str:
        """Hex digits that stand for the key of a track."""
        key = self.encryption.key_of(track)
        return short_digest(key.key_id, checksum(key).encode())

    def check(self) -> None:
        """InputFault where the provider's keys cannot be used."""
        try:
            encryption_argv(self.encryption)
        except KeyFault as error:
            raise InputFault(str(error)) from error

    async def signals(self, first: Mapping[str, tuple[bytes, bytes]]) -> Mapping[str, Signal]:
        """What manifests tell of tracks (`first`: track name → its init and first segment), by packager's own ones."""
        if self.whole:
            return {name: Signal(init, self._whole_key(name), ()) for name, (init, _) in first.items()}
        folder = f"signal_{self.number}_{short_digest(*(init for init, _ in first.values()))}"
        files = {name: f"{folder}_{name}.mp4" for name in first}
        for name, (init, data) in first.items():
            await in_thread((self.context.scratch / files[name]).write_bytes, init + data)
        media = self.encryption.media
        tracks = [track for track in media.tracks if track.name in first]
        encryption = Encryption(self.encryption.wanted, self.encryption.keys, Media(tracks, media.duration, _WHOLE_S))
        argv = packager.package(self.context.tools.packager, encryption.media, files, folder, encryption=encryption)
        self.commands.append(plain_command(argv))
        await self._run(argv, f"{folder}/{tracks[0].name}", "telling the keys of segments")
        return await in_thread(_signals, self.context.scratch / folder, encryption, first)

    def _whole_key(self, name: str) -> Sequence[str]:
        track = next(track for track in self.encryption.media.tracks if track.name == name)
        return [f'#EXT-X-KEY:METHOD=AES-128,URI="{self.encryption.uri_of(AES, track)}"']

    async def close(
        self, track: Track, init: bytes, segments: Sequence[bytes], names: Sequence[str], paths: Sequence[str]
    ) -> None:
        """Write encrypted copies of segments of a track to scratch under these names; `paths`: where they will be stored."""
        inputs = [f"{name}.in.mp4" for name in names]
        for data, source in zip(segments, inputs, strict=True):
            await in_thread((self.context.scratch / source).write_bytes, init + data)
        if self.whole:
            await self._close_whole(track, boxes.read_init(init), segments, names, paths)
            return
        label = self.encryption.key_of(track).label
        descriptors = [
            f"in={source},stream={track.kind.value},init_segment={name}.out/init.mp4,"
            f"segment_template={name}.out/$Number$.m4s,drm_label={label}"
            for source, name in zip(inputs, names, strict=True)
        ]  # fmt: skip
        argv = [
            self.context.tools.packager, "--quiet", *descriptors, "--segment_duration", f"{_WHOLE_S:g}",
            *encryption_argv(self.encryption),
        ]  # fmt: skip
        await self._run(argv, f"{names[0]}.out", f"encrypting segments of {track.name}")
        opened = await self._opened(track, names)
        await in_thread(_finish, self.context.scratch, names, segments, opened, boxes.read_init(init))

    async def _close_whole(
        self, track: Track, init: boxes.Init, segments: Sequence[bytes], names: Sequence[str], paths: Sequence[str]
    ) -> None:
        """As MPEG-TS, each encrypted as a file."""
        descriptors = [
            f"in={name}.in.mp4,stream={track.kind.value},segment_template={name}.out/$Number$.ts" for name in names
        ]
        argv = [
            self.context.tools.packager, "--quiet", *descriptors, "--segment_duration", f"{_WHOLE_S:g}",
            "--transport_stream_timestamp_offset_ms", f"{1000 * packager.TRANSPORT_OFFSET_S:.0f}",
        ]  # fmt: skip
        await run(self.context, argv, f"making TS segments of {track.name}", of_input=True)
        key = self.encryption.key_of(track)
        for name, data, path in zip(names, segments, paths, strict=True):
            samples = boxes.read_times(data, init).samples
            made = await in_thread(_transport, self.context.scratch, name, samples)
            vector = bytes.fromhex(initialization_vector(path))
            await in_thread(_close_whole, self.context.scratch / name, made, key, vector)

    async def _opened(self, track: Track, names: Sequence[str]) -> str:
        """The first of them decrypted again; the name of the file."""
        locked, opened = f"{names[0]}.locked.mp4", f"{names[0]}.opened.mp4"
        parts = [self.context.scratch / f"{names[0]}.out" / part for part in ("init.mp4", "1.m4s")]
        await in_thread(_join, parts, self.context.scratch / locked)
        argv = packager.decrypt(self.context.tools.packager, [(locked, track.kind, opened)], self.encryption.flags)
        await self._run(argv, opened, f"decrypting a segment of {track.name} again")
        return opened

    async def _run(self, argv: Sequence[str], began: str, what: str) -> None:
        async with self.turn:
            keys = self.encryption.keys.keys.values()
            result = await run_with_keys(
                self.context, argv, self.encryption.flags, keys, self.context.scratch / began,
                constant=self.encryption.wanted.name == CBCS,
            )  # fmt: skip
        if result.exit_code != 0:
            raise process_fault(what, result, of_input=True)


def initialization_vector(path: str) -> str:
    """32 hex digits: of a segment that is encrypted whole, by its logical path; no two segments have the same."""
    return hashlib.sha256(path.encode()).hexdigest()[:32]


def _close_whole(path: Path, data: bytes, key: ContentKey, vector: bytes) -> None:
    from cryptography.hazmat.primitives import padding
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    encryptor, padder = Cipher(algorithms.AES(key.key), modes.CBC(vector)).encryptor(), padding.PKCS7(128).padder()
    path.write_bytes(encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize())


def _transport(scratch: Path, name: str, samples: int) -> bytes:
    """What packager has made of a segment, checked to be one segment of as many samples."""
    made = sorted((scratch / f"{name}.out").glob("*.ts"))
    expect(name, "one TS segment", len(made), holds=len(made) == 1)
    try:
        data = transport.standing_alone(made[0].read_bytes())
        found = transport.samples(data)
    except BoxFault as error:
        raise VerificationFault(f"{name}: expected MPEG-TS, found that {error}") from error
    expect(name, f"{samples} samples", found, holds=found == samples)
    shutil.rmtree(scratch / f"{name}.out")
    (scratch / f"{name}.in.mp4").unlink()
    return data


def _signals(folder: Path, encryption: Encryption, first: Mapping[str, tuple[bytes, bytes]]) -> Mapping[str, Signal]:
    from taskengine.media import dash, verify_protection  # their parsers are not needed before

    tell_where_keys_are(folder, encryption)
    verify_protection.encrypted(folder, encryption)
    protection = dash.read_protection((folder / packager.MPD).read_text(encoding="utf-8"))
    found = {}
    for name, (init, _) in first.items():
        lines = (folder / f"{name}.m3u8").read_text(encoding="utf-8").splitlines()
        keys = [line for line in lines if line.startswith("#EXT-X-KEY:")]
        locked = rewriting.normalised(rewriting.init_like((folder / name / packager.INIT).read_bytes(), init))
        found[name] = Signal(locked, keys, protection[f"{name}/{packager.INIT}"])
    return found


def _join(parts: Sequence[Path], target: Path) -> None:
    target.write_bytes(b"".join(part.read_bytes() for part in parts))


def _finish(scratch: Path, names: Sequence[str], segments: Sequence[bytes], opened: str, init: boxes.Init) -> None:
    """Each made like its clear one, and checked to be one segment of the same media, encrypted."""
    for name, clear in zip(names, segments, strict=True):
        made = sorted((scratch / f"{name}.out").glob("*.m4s"))
        expect(name, "one encrypted segment", len(made), holds=len(made) == 1)
        try:
            locked = rewriting.like(made[0].read_bytes(), clear)
            before, after = boxes.media_data(clear), boxes.media_data(locked)
            times = boxes.read_times(clear, init), boxes.read_times(locked, init)
        except BoxFault as error:
            raise VerificationFault(f"{name}: expected a whole segment, found that {error}") from error
        expect(name, f"{len(before)} bytes of media", len(after), holds=len(before) == len(after))
        expect(name, times[0], times[1], holds=times[0] == times[1])
        expect(name, "encrypted media", "clear media", holds=before != after)
        (scratch / name).write_bytes(locked)
    plain = boxes.media_data((scratch / opened).read_bytes())
    expect(opened, "the media of the clear segment", "other media", holds=plain == boxes.media_data(segments[0]))
    for name in names:
        shutil.rmtree(scratch / f"{name}.out")
        (scratch / f"{name}.in.mp4").unlink()
    for left in (opened, f"{names[0]}.locked.mp4"):
        (scratch / left).unlink()
