"""Init segments for the fragments of Smooth Streaming, made of what its manifest says of a quality level."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from taskengine.media.mp4 import written as box
from taskengine.media.streams.model import StreamFault
from taskengine.media.streams.parameter_sets import ParameterSets
from taskengine.media.tracks import TrackKind

TRACK = 1  # the id of the one track
_AVC, _HEVC = {"h264", "avc1", "davc", "avcb"}, {"hvc1", "hev1", "h265", "hevc"}
_AAC, _DOLBY = {"aacl", "aach", "aac", "mp4a", "aacp"}, {"ec-3": "ec-3", "eac3": "ec-3", "ac-3": "ac-3", "ac3": "ac-3"}
_RAW_AAC, _HE_AAC, _HE_HEAD = 0x00FF, 0x1610, 12  # format tags of WAVEFORMATEX; what stands before the configuration
_WAVE = struct.Struct("<HHIIHHH")
_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_HIGH = {100, 110, 122, 144}  # profiles of H.264
_START = re.compile(rb"\x00{2,}\x01")
_VPS, _SPS, _PPS = 32, 33, 34
_UPRIGHT = struct.pack(">9i", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)


@dataclass(frozen=True, slots=True)
class Sample:
    """What the samples of a quality level are: the type of their entry, its `boxes`, and `codecs` as RFC 6381 has it."""

    kind: TrackKind
    entry: bytes
    boxes: bytes
    codecs: str
    width: int = 0
    height: int = 0
    channels: int = 0
    sample_rate: int = 0


def sample_of(kind: TrackKind, level: Mapping[str, str], four_cc: str) -> Sample:
    """By the attributes of a quality level, and the FourCC of its stream index. StreamFault where it is not understood."""
    code = (level.get("FourCC") or four_cc).lower()
    if kind is TrackKind.TEXT:
        return Sample(kind, b"stpp", b"", "stpp")
    private = _bytes(level, "CodecPrivateData")
    if kind is TrackKind.VIDEO:
        return _picture(code, level, private)
    return _sound(code, level, private)


def _bytes(level: Mapping[str, str], name: str) -> bytes:
    try:
        return bytes.fromhex(level.get(name, ""))
    except ValueError:
        raise StreamFault(f"its {name} is no hexadecimal: {level[name][:40]!r}") from None


def _picture(code: str, level: Mapping[str, str], private: bytes) -> Sample:
    width, height = (int(level.get(f"Max{side}") or level.get(side) or 0) for side in ("Width", "Height"))
    units = [unit.rstrip(b"\0") for unit in _START.split(private) if unit]
    length = int(level.get("NALUnitLengthField", "4"))
    if code in _AVC:
        sets = {number: [unit for unit in units if unit[0] & 31 == number] for number in (7, 8)}
        if not sets[7] or not sets[8]:
            raise StreamFault("the CodecPrivateData of a quality level has no parameter sets of H.264")
        head = b"\1" + sets[7][0][1:4] + bytes([0xFC | length - 1])
        content = ParameterSets(head, sets[7], sets[8], _high(sets[7][0])).written
        return Sample(TrackKind.VIDEO, b"avc1", box(b"avcC", content), f"avc1.{head[1:4].hex()}", width, height)
    if code in _HEVC:
        return Sample(TrackKind.VIDEO, b"hvc1", box(b"hvcC", _hevc(units, length)), "hvc1", width, height)
    raise StreamFault(f"its picture of {level.get('Bitrate')} bit/s is {code or 'of no told codec'}, which is not read")


def _high(unit: bytes) -> bytes:
    """What follows the sets in the `avcC` box of the high profiles: chroma format and bits of a sample."""
    if unit[1] not in _HIGH:
        return b""
    bits = _Bits(_unescaped(unit[4:]))
    bits.number()
    chroma = bits.number()
    bits.place += chroma == 3  # planes apart
    return bytes([0xFC | chroma, 0xF8 | bits.number(), 0xF8 | bits.number(), 0])


def _unescaped(unit: bytes) -> bytes:
    return re.sub(rb"\x00\x00\x03(?=[\x00-\x03]|$)", b"\0\0", unit)


class _Bits:
    """Reads flags and exponential Golomb numbers. ValueError where none are left."""

    def __init__(self, data: bytes) -> None:
        self._bits = "".join(f"{byte:08b}" for byte in data[:128])
        self.place = 0

    def flag(self) -> bool:
        """The next bit."""
        self.place += 1
        return self._bits[self.place - 1 : self.place] == "1"

    def number(self) -> int:
        """The next number."""
        zeros = self._bits.index("1", self.place) - self.place
        begin, self.place = self.place + zeros, self.place + 2 * zeros + 1
        return int(self._bits[begin : self.place], 2) - 1


def _sound(code: str, level: Mapping[str, str], private: bytes) -> Sample:
    channels, rate = int(level.get("Channels", "2")), int(level.get("SamplingRate", "48000"))
    if code in _DOLBY:
        name = _DOLBY[code]
        return Sample(TrackKind.AUDIO, name.encode(), b"", name, 0, 0, channels, rate)
    if code not in _AAC and not (not code and level.get("AudioTag") == str(_RAW_AAC)):
        raise StreamFault(
            f"its sound of {level.get('Bitrate')} bit/s is {code or 'of no told codec'}, which is not read"
        )
    configuration = _of_wave(private) or private or _of_wave(_bytes(level, "WaveFormatEx")) or _plain(channels, rate)
    object_type = configuration[0] >> 3
    boxes = box(b"esds", bytes(4) + _descriptors(configuration))
    return Sample(TrackKind.AUDIO, b"mp4a", boxes, f"mp4a.40.{object_type}", 0, 0, channels, rate)


def _of_wave(data: bytes) -> bytes:
    """The AudioSpecificConfig behind a WAVEFORMATEX; b"" where it is none."""
    if len(data) <= _WAVE.size:
        return b""
    tag, *_, size = _WAVE.unpack_from(data)
    if tag not in {_RAW_AAC, _HE_AAC} or size != len(data) - _WAVE.size:
        return b""
    return data[_WAVE.size + (_HE_HEAD if tag == _HE_AAC else 0) :]


def _plain(channels: int, rate: int) -> bytes:
    """The configuration of AAC-LC."""
    if rate not in _RATES:
        raise StreamFault(f"its sound of {rate} samples per second has no CodecPrivateData")
    return (2 << 11 | _RATES.index(rate) << 7 | channels << 3).to_bytes(2)


def _descriptors(configuration: bytes) -> bytes:
    """ES, decoder and configuration (ISO/IEC 14496-1)."""
    specific = bytes([5, len(configuration)]) + configuration
    decoder = bytes([0x40, 0x15]) + bytes(11) + specific
    content = bytes([0, 0, 0, 4, len(decoder)]) + decoder + bytes([6, 1, 2])
    return bytes([3, len(content)]) + content


def _hevc(units: Sequence[bytes], length: int) -> bytes:
    """The content of an `hvcC` box (ISO/IEC 14496-15)."""
    sets = {number: [unit for unit in units if unit[0] >> 1 & 63 == number] for number in (_VPS, _SPS, _PPS)}
    if not sets[_SPS] or not sets[_PPS]:
        raise StreamFault("the CodecPrivateData of a quality level has no parameter sets of HEVC")
    payload = _unescaped(sets[_SPS][0][2:])
    chroma, luma_depth, chroma_depth = _depths(payload)
    layers = payload[0] >> 1 & 7
    head = b"\1" + payload[1:13] + bytes([0xF0, 0, 0xFC, 0xFC | chroma, 0xF8 | luma_depth, 0xF8 | chroma_depth, 0, 0])
    head += bytes([layers + 1 << 3 | (payload[0] & 1) << 2 | length - 1])
    arrays = [
        bytes([0x80 | number]) + len(found).to_bytes(2) + b"".join(len(unit).to_bytes(2) + unit for unit in found)
        for number, found in sets.items()
        if found
    ]
    return head + bytes([len(arrays)]) + b"".join(arrays)


def _depths(payload: bytes) -> tuple[int, int, int]:
    """Chroma format, bits of luma and of chroma beyond eight, of a sequence parameter set of HEVC."""
    bits = _Bits(payload)
    layers = payload[0] >> 1 & 7
    bits.place = 8 + 96
    if layers:
        flags = [bits.flag() for _ in range(16)]
        bits.place += sum(88 * flags[2 * each] + 8 * flags[2 * each + 1] for each in range(layers))
    bits.number()
    chroma = bits.number()
    bits.place += chroma == 3  # planes apart
    bits.number(), bits.number()
    for _ in range(4 * bits.flag()):  # a window
        bits.number()
    return chroma, bits.number(), bits.number()


def written(sample: Sample, timescale: int, key_id: bytes | None) -> bytes:
    """The init segment of one track; `key_id`: its samples are encrypted (cenc), with vectors of 8 bytes."""
    handler, header = (b"vide", box(b"vmhd", bytes([0, 0, 0, 1]) + bytes(8)))
    if sample.kind is TrackKind.AUDIO:
        handler, header = b"soun", box(b"smhd", bytes(8))
    tables = b"".join(
        box(kind, bytes(size)) for kind, size in ((b"stts", 8), (b"stsc", 8), (b"stsz", 12), (b"stco", 8))
    )
    descriptions = box(b"stsd", struct.pack(">II", 0, 1) + _entry(sample, key_id))
    references = box(b"dinf", box(b"dref", struct.pack(">II", 0, 1) + box(b"url ", bytes([0, 0, 0, 1]))))
    media = box(
        b"mdia", box(b"mdhd", struct.pack(">IIIIIHH", 0, 0, 0, timescale, 0, 0x55C4, 0)),
        box(b"hdlr", bytes(8) + handler + bytes(13)), box(b"minf", header, references, box(b"stbl", descriptions, tables)),
    )  # fmt: skip
    volume = 0x0100 if sample.kind is TrackKind.AUDIO else 0
    shape = struct.pack(">HH", volume, 0) + _UPRIGHT + struct.pack(">II", sample.width << 16, sample.height << 16)
    track = box(b"tkhd", struct.pack(">IIIIII", 7, 0, 0, TRACK, 0, 0) + bytes(12) + shape)
    movie = struct.pack(">IIIIIIH", 0, 0, 0, timescale, 0, 0x10000, 0x0100) + bytes(10) + _UPRIGHT + bytes(24)
    extends = box(b"mvex", box(b"trex", struct.pack(">IIIIII", 0, TRACK, 1, 0, 0, 0)))
    kinds = box(b"ftyp", b"iso6" + bytes(4) + b"iso6")
    return kinds + box(b"moov", box(b"mvhd", movie, struct.pack(">I", TRACK + 1)), box(b"trak", track, media), extends)


def _entry(sample: Sample, key_id: bytes | None) -> bytes:
    reference = bytes(6) + b"\0\1"
    if sample.kind is TrackKind.VIDEO:
        size = struct.pack(">HHIII", sample.width, sample.height, 0x480000, 0x480000, 0)
        head = reference + bytes(16) + size + struct.pack(">H32sHh", 1, b"", 24, -1)
    else:
        head = reference + bytes(8) + struct.pack(">HHIHH", sample.channels, 16, 0, min(sample.sample_rate, 0xFFFF), 0)
    if key_id is None:
        return box(sample.entry, head, sample.boxes)
    scheme = box(b"schm", struct.pack(">I4sI", 0, b"cenc", 0x10000))
    protected = box(b"schi", box(b"tenc", bytes([0, 0, 0, 0, 0, 0, 1, 8]) + key_id))
    kind = b"encv" if sample.kind is TrackKind.VIDEO else b"enca"
    return box(kind, head, sample.boxes, box(b"sinf", box(b"frma", sample.entry), scheme, protected))
