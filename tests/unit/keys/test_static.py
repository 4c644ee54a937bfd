"""Keys of a secret file."""

from __future__ import annotations

from pathlib import Path

import pytest

from taskengine.domain.errors import InputFault, ResourceFault, TaskFailed
from taskengine.domain.keys import KeyRequest, Label
from taskengine.keys.static import StaticKeys

KEYS = """
film:
  - {label: SD, key_id: "00000000-0000-0000-0000-0000000000a1", key: "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"}
  - {label: VIDEO, key_id: "000000000000000000000000000000a2", key: "oqKioqKioqKioqKioqKiog=="}
  - {label: AUDIO, scheme: cbcs, key_id: "000000000000000000000000000000a3", key: "a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3"}
"*":
  - {key_id: "000000000000000000000000000000b1", key: "b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1"}
"""


def provider(folder: Path, text: str = KEYS) -> StaticKeys:
    """A provider of this file."""
    (folder / "keys.yaml").write_text(text)
    return StaticKeys("vault", folder / "keys.yaml")


def request(content_id: str, scheme: str = "cenc", **known: bytes) -> KeyRequest:
    """A request for all kinds of track."""
    tracks = dict.fromkeys((Label.HD, Label.SD, Label.AUDIO)) | {Label(name): key for name, key in known.items()}
    return KeyRequest(content_id, scheme, [], tracks)


async def test_keys_are_found_by_content_label_and_scheme(tmp_path: Path) -> None:
    """A picture's own label before VIDEO, and both before what is for all; other contents have what is for all."""
    keys = await provider(tmp_path).keys(request("film"))
    assert [keys[label].key.hex()[:2] for label in (Label.SD, Label.HD, Label.AUDIO)] == ["a1", "a2", "b1"]
    keys = await provider(tmp_path).keys(request("film", "cbcs"))
    assert keys[Label.AUDIO].key.hex()[:2] == "a3"
    keys = await provider(tmp_path).keys(request("other"))
    assert {key.key.hex()[:2] for key in keys.values()} == {"b1"}


async def test_a_key_is_found_by_its_id_too(tmp_path: Path) -> None:
    """Whatever its label; one that is not there is named."""
    wanted = bytes.fromhex("000000000000000000000000000000b1")
    keys = await provider(tmp_path).keys(request("film", SD=wanted))
    assert keys[Label.SD].key_id == wanted
    with pytest.raises(InputFault, match="no key 00000000-0000-0000-0000-0000000000ff of the content 'film'"):
        await provider(tmp_path).keys(request("film", SD=bytes(15) + b"\xff"))


async def test_a_content_without_a_key_is_named(tmp_path: Path) -> None:
    """With the label that is missing."""
    text = KEYS.partition('"*"')[0]
    with pytest.raises(
        InputFault, match=r"key_providers\.vault: there is no key for AUDIO by cenc of the content 'film'"
    ):
        await provider(tmp_path, text).keys(request("film"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("film: {}", "film: it must be a list of keys"),
        ("[]", "must be a mapping of content ids"),
        ("film: [{key_id: x}]", r"film\[0\]: it must have key_id and key"),
        ("film: [{key_id: 00000000000000000000000000000001, key: b}]", "must be texts: put them in quotes"),
        ('film: [{key_id: "x", key: "secret-of-mine"}]', "key_id must be 32 hex digits or a UUID"),
        (f'film: [{{key_id: "{"0" * 32}", key: "secret-of-mine"}}]', "key must be 16 bytes"),
        (f'film: [{{key_id: "{"0" * 32}", key: "{"0" * 32}", label: XD}}]', "label must be one of"),
        ("film: [", "neither YAML nor JSON"),
    ],
)
async def test_a_file_that_is_wrong_says_where_and_never_what(tmp_path: Path, text: str, message: str) -> None:
    """The fault names the entry, not its key."""
    with pytest.raises(TaskFailed, match=message) as raised:
        await provider(tmp_path, text).keys(request("film"))
    assert "secret-of-mine" not in str(raised.value)


async def test_a_file_that_is_away_is_a_lack_of_this_worker(tmp_path: Path) -> None:
    """Another one may have it."""
    with pytest.raises(ResourceFault, match="keys_file: it cannot be read"):
        await StaticKeys("vault", tmp_path / "none.yaml").keys(request("film"))
