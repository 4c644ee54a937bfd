"""What is not encrypted, or not by its key, is found before it is published."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from taskengine.media import verify_protection, whole_segments
from taskengine.media.verify import VerificationFault

PLAYLIST = '#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="https://keys.example.com/1",IV=0x' + "0a" * 16 + "\n"


def media(path: Path, data: bytes) -> str:
    """A file of media data alone."""
    path.write_bytes((len(data) + 8).to_bytes(4, "big") + b"mdat" + data)
    return path.name


def test_segments_that_are_clear_are_found(tmp_path: Path) -> None:
    """Decrypted they are what is stored; one pair that differs is enough, for a scheme may leave small samples clear."""
    clear = media(tmp_path / "a.mp4", b"clear"), media(tmp_path / "b.mp4", b"clear")
    locked = media(tmp_path / "c.mp4", b"12345"), media(tmp_path / "d.mp4", b"clear")
    with pytest.raises(VerificationFault, match="expected encrypted ones, found all of them clear"):
        verify_protection.unlocked(tmp_path, [clear])
    verify_protection.unlocked(tmp_path, [clear, locked])


def test_a_segment_that_lost_something_is_found(tmp_path: Path) -> None:
    """Every byte comes back."""
    pair = media(tmp_path / "a.mp4", b"12345"), media(tmp_path / "b.mp4", b"1234")
    with pytest.raises(VerificationFault, match="expected 5 bytes of media when decrypted, found 4"):
        verify_protection.unlocked(tmp_path, [pair])


def test_a_segment_that_is_encrypted_whole_opens_by_its_key_alone(tmp_path: Path) -> None:
    """Neither a clear one nor one of another key does."""
    key, text = os.urandom(16), b"G" * 188
    encryptor = Cipher(algorithms.AES(key), modes.CBC(b"\x0a" * 16)).encryptor()
    source, target = tmp_path / "1.ts", tmp_path / "open.ts"
    source.write_bytes(encryptor.update(text + b"\x04" * 4) + encryptor.finalize())
    [vector] = whole_segments.vectors(f"{PLAYLIST}1.ts\n")
    whole_segments.decrypt(source, target, key, vector)
    assert target.read_bytes() == text
    source.write_bytes(text)
    with pytest.raises(VerificationFault, match=r"1\.ts: expected a segment encrypted by its key"):
        whole_segments.decrypt(source, target, key, vector)


def test_each_segment_has_the_vector_that_was_told_last() -> None:
    """One that is clear has none, and is no segment that is encrypted whole."""
    keys = [f'#EXT-X-KEY:METHOD=AES-128,URI="k",IV=0x{digit * 32}' for digit in "12"]
    text = "\n".join([keys[0], "a.ts", "b.ts", keys[1], "c.ts"])
    assert whole_segments.vectors(text) == [b"\x11" * 16, b"\x11" * 16, b"\x22" * 16]
    with pytest.raises(VerificationFault, match=r"d\.ts: expected a key by AES-128 in its playlist"):
        whole_segments.vectors(f"{text}\n#EXT-X-KEY:METHOD=NONE\nd.ts")
