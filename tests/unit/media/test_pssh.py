"""PSSH boxes and PlayReady objects, against those that packager and PlayReady's tools write."""

from __future__ import annotations

import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskengine.media.pssh import Pssh, PsshFault, playready_header, playready_key_ids, read_pssh

WIDEVINE = base64.b64decode(
    "AAAAXHBzc2gAAAAA7e+LqXnWSs6jyCfc1R0h7QAAADwSEBARIjNEVWZ3iJmqu8zd7v8SEAARIjNEVWZ3iJmqu8zd7v8SECARIjNEVWZ3iJmqu8zd7v9I88aJmwY="
)
COMMON = base64.b64decode(
    "AAAAVHBzc2gBAAAAEHfv7MCyTQKs4zweUuL7SwAAAAMQESIzRFVmd4iZqrvM3e7/ABEiM0RVZneImaq7zN3u/yARIjNEVWZ3iJmqu8zd7v8AAAAA"
)
KEY_IDS = [bytes.fromhex(f"{first}112233445566778899aabbccddeeff") for first in ("10", "00", "20")]


def test_boxes_of_both_versions_are_read() -> None:
    """Widevine's own data name the ids, the common box does it itself."""
    widevine = read_pssh(WIDEVINE)
    assert (widevine.system, widevine.key_ids) == (UUID("edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"), [])
    assert all(key_id in widevine.data for key_id in KEY_IDS)
    common = read_pssh(COMMON)
    assert (common.system, common.key_ids, common.data) == (UUID("1077efec-c0b2-4d02-ace3-3c1e52e2fb4b"), KEY_IDS, b"")
    assert common.to_bytes() == COMMON
    assert widevine.to_bytes() == WIDEVINE


@given(st.uuids(), st.lists(st.binary(min_size=16, max_size=16), max_size=4), st.binary(max_size=64))
def test_what_is_written_is_read(system: UUID, key_ids: list[bytes], data: bytes) -> None:
    """Every box comes back as it was."""
    box = Pssh(system, key_ids, data)
    assert read_pssh(box.to_bytes()) == box


@given(st.binary(max_size=80), st.integers(min_value=0, max_value=91))
def test_garbage_is_a_fault(data: bytes, cut: int) -> None:
    """Never another error."""
    for box in (data, WIDEVINE[:cut], WIDEVINE + data[:1] if data else b""):
        with pytest.raises(PsshFault):
            read_pssh(box)


def test_key_ids_of_playready_are_those_of_its_guids() -> None:
    """In headers of version 4.0 and of later ones."""
    header = '<WRMHEADER version="4.0.0.0"><DATA><KID>3kqpi7lunUS0T6W+769DsA==</KID></DATA></WRMHEADER>'
    newer = '<WRMHEADER version="4.3.0.0"><DATA><KIDS><KID ALGID="AESCBC" VALUE="3kqpi7lunUS0T6W+769DsA=="></KID></KIDS></DATA></WRMHEADER>'
    for text in (header, newer):
        xml = text.encode("utf-16-le")
        record = (len(xml) + 10).to_bytes(4, "little") + b"\x01\x00\x01\x00" + len(xml).to_bytes(2, "little") + xml
        assert playready_key_ids(playready_header(record)) == [UUID("8ba94ade-6eb9-449d-b44f-a5beefaf43b0").bytes]
    with pytest.raises(PsshFault):
        playready_header(b"\x05\x00\x00\x00\x00\x00")
