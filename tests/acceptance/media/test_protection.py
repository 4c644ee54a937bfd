"""Protected assets: what each player finds, and that the keys, and nothing else, open it."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from lxml import etree

from taskengine.domain.errors import InputFault, InvalidRequest
from taskengine.keys import ProviderConfig, Service
from taskengine.keys.seed import derive_key_id
from taskengine.media import hls, hls_keys, mp4
from taskengine.media.pssh import playready_header, playready_key_ids, read_pssh
from taskengine.net import Fetcher, GuardedClients, networks
from taskengine.settings import KeyProviderSettings
from tests.support.decrypting import SEED, frames, joined, key_of, opened_segments
from tests.support.key_service import KeyService, make_recipient
from tests.support.media import AAC, H264, SEED_KEYS, Studio, ffmpeg, picture, sound, video_source

MPD = "{urn:mpeg:dash:schema:mpd:2011}"
PSSH = "{urn:mpeg:cenc:2013}pssh"
KID = "{urn:mpeg:cenc:2013}default_KID"
ALL = ["clear", "widevine", "playready", "fairplay", "cenc", "aes"]
SYSTEMS = {
    "widevine": "edef8ba9-79d6-4ace-a3c8-27dcd51d21ed", "playready": "9a04f079-9840-4286-ab92-e65be0885f95",
    "cenc": "1077efec-c0b2-4d02-ace3-3c1e52e2fb4b",
}  # fmt: skip


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two renditions of five seconds, of two classes of resolution, sound, and captions."""
    folder = tmp_path_factory.mktemp("films")
    keys = ("-force_key_frames", "expr:gte(t,n_forced*2)")
    ffmpeg(folder, *picture("1024x576", seconds=5), *H264, *keys, "film.mp4")
    ffmpeg(folder, *picture("320x180", seconds=5), *H264, *keys, "small.mp4")
    ffmpeg(folder, *sound(5), *AAC, "film_eng.m4a")
    (folder / "film_eng.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nHello\n")
    return folder


@pytest.fixture
def studio(tmp_path: Path, films: Path) -> Studio:
    """A studio with them as its sources."""
    made = Studio(tmp_path)
    shutil.copytree(films, made.source, dirs_exist_ok=True)
    return made


def set_of(studio: Studio, name: str) -> Path:
    """The folder of a set of the newest version that has it."""
    return max(studio.output.glob(f"v/*/{name}"))


def metadata(studio: Studio) -> dict[str, Any]:
    """The asset's description."""
    found: dict[str, Any] = json.loads((studio.output / "metadata.json").read_text())
    return found


def dash_base(studio: Studio) -> str:
    """Where the active MPD points to."""
    return next(iter(re.findall(r"\"(v/\d+-\d+/\w+/)", (studio.output / "film.mpd").read_text())), "")


def hls_set(studio: Studio) -> set[str]:
    """The sets that the active HLS master names."""
    return set(re.findall(r"v/\d+-\d+/(\w+)/", (studio.output / "film.m3u8").read_text()))


def named_files(studio: Studio) -> Iterator[str]:
    """Every file that the playlists and the description name."""
    for playlist in studio.output.rglob("*.m3u8"):
        base = playlist.parent
        for line in playlist.read_text().splitlines():
            uri = re.search(r'(?<!KEY:)\bURI="(?!data:|skd:|https:)([^"]+)"', line)
            name = uri[1] if uri else line if line and not line.startswith("#") else None
            if name:
                yield str((base / name).resolve())
    yield from (str(studio.output / file["path"]) for file in metadata(studio)["files"])


async def test_every_protection_of_one_job(studio: Studio) -> None:
    """A set each; HLS and DASH point to what their players can use; each track opens by its own key alone."""
    answer = await studio.stream(drm=ALL, trickplay=True, trickplay_thumbnail_interval=2, download_cpix=True)

    assert hls_set(studio) == {"cbcs"}
    assert dash_base(studio) == "v/1-1/cenc/"
    assert answer["message"] == str(studio.output / "film.m3u8")
    assert metadata(studio)["active"]["sets"] == {"hls": "cbcs", "dash": "cenc"}
    assert all(Path(name).is_file() for name in named_files(studio))

    clear = {
        name: frames(joined(set_of(studio, "clear") / f"{name}.m3u8"))[0] for name in ("video_1", "video_2", "audio_1")
    }
    labels = {"video_1": "HD", "video_2": "SD", "audio_1": "AUDIO"}
    for scheme in ("cenc", "cbcs"):
        folder = set_of(studio, scheme)
        check_signalling(folder, scheme, labels)
        for name, label in labels.items():
            locked = joined(folder / f"{name}.m3u8")
            assert frames(locked, key_of(scheme, label)) == (clear[name], "")
            shown, complaints = frames(locked)
            assert shown != clear[name]
            assert complaints
            assert frames(locked, key_of(scheme, "SD" if label != "SD" else "HD"))[0] != clear[name]
    folder = set_of(studio, "aes")
    for name, label in labels.items():
        [key] = hls_keys.read_keys((folder / f"{name}.m3u8").read_text())
        key_id = derive_key_id(SEED, "film", "aes", label).hex()
        assert (key["METHOD"], key["URI"]) == ("AES-128", f"https://keys.example.com/film/{key_id}")
        shown, complaints = frames(opened_segments(folder / f"{name}.m3u8", key_of("aes", label)))
        assert complaints == ""
        assert name == "audio_1" or shown == clear[name]  # of sound, TS has the encoder's priming too
    check_texts(studio)
    check_trick_play(studio)
    check_document(studio)
    check_secrets(studio)


def check_signalling(folder: Path, scheme: str, labels: Mapping[str, str]) -> None:
    """Init segments, MPD and playlists name each track's key and the systems."""
    root = etree.fromstring((folder / "manifest.mpd").read_bytes())
    for name, label in labels.items():
        key_id = derive_key_id(SEED, "film", scheme, label)
        found = mp4.read_protection(folder / name / "init.mp4")
        assert (found.scheme, found.key_id) == (scheme, key_id)
        boxes = {str(box.system): box for box in map(read_pssh, found.pssh)}
        assert set(SYSTEMS.values()) <= boxes.keys()
        assert key_id in boxes[SYSTEMS["cenc"]].key_ids
        assert playready_key_ids(playready_header(boxes[SYSTEMS["playready"]].data)) == [key_id]
        template = root.find(f".//{MPD}SegmentTemplate[@initialization='{name}/init.mp4']")
        assert template is not None
        [adaptation] = template.iterancestors(f"{MPD}AdaptationSet")
        protections = adaptation.findall(f"{MPD}ContentProtection")
        assert protections[0].get(KID) == str(UUID(bytes=key_id))
        assert {each.get("schemeIdUri") for each in protections[1:]} == {
            f"urn:uuid:{each}" for each in SYSTEMS.values()
        }
        keys = {key.get("KEYFORMAT"): key for key in hls_keys.read_keys((folder / f"{name}.m3u8").read_text())}
        assert {f"urn:uuid:{SYSTEMS['widevine']}", "com.microsoft.playready"} <= keys.keys()
        assert "identity" not in keys
        if scheme == "cbcs":
            assert keys["com.apple.streamingkeydelivery"]["URI"] == f"skd://{key_id.hex()}"


def check_trick_play(studio: Studio) -> None:
    """Key frames and tiles are in every set."""
    for name in ("clear", "cenc", "cbcs", "aes"):
        folder = set_of(studio, name)
        master = (folder / "master.m3u8").read_text()
        assert master.count("#EXT-X-I-FRAME-STREAM-INF") == 2
        assert "#EXT-X-IMAGE-STREAM-INF" in master
        assert (folder / "thumbnails" / "1.jpg").is_file()
    for name in ("cenc", "cbcs"):
        root = etree.fromstring((set_of(studio, name) / "manifest.mpd").read_bytes())
        [trick] = root.findall(f".//{MPD}EssentialProperty[@schemeIdUri='http://dashif.org/guidelines/trickmode']/..")
        assert trick.find(f"{MPD}ContentProtection") is not None
    playlist = set_of(studio, "aes") / "video_1_iframe.m3u8"
    assert "#EXT-X-I-FRAMES-ONLY" in playlist.read_text()
    assert len(hls.read_media(playlist.read_text()).segments) == 3  # a key frame each
    opened = opened_segments(playlist, key_of("aes", "HD"))
    ffmpeg(opened.parent, "-i", opened.name, "-fps_mode", "passthrough", "frame_%d.jpg")
    assert len(list(opened.parent.glob("frame_*.jpg"))) == 3


def check_texts(studio: Studio) -> None:
    """Captions are in every set, in the clear."""
    for name in ("clear", "cenc", "cbcs", "aes"):
        folder = set_of(studio, name)
        assert "TYPE=SUBTITLES" in (folder / "master.m3u8").read_text()
        [playlist] = folder.glob("text_*.m3u8")
        [text] = [uri for uri, _ in hls.read_media(playlist.read_text()).segments]
        assert "Hello" in (folder / text).read_text()
        assert not hls_keys.read_keys(playlist.read_text())


def check_document(studio: Studio) -> None:
    """The CPIX document has every key's id and no key."""
    root = etree.fromstring((studio.output / "cpix.xml").read_bytes())
    ids = {element.get("kid") for element in root.iter("{urn:dashif:org:cpix}ContentKey")}
    expected = {
        UUID(bytes=derive_key_id(SEED, "film", scheme, label))
        for scheme in ("cenc", "cbcs", "aes")
        for label in ("HD", "SD", "AUDIO")
    }
    assert ids == set(map(str, expected))
    assert not list(root.iter("{urn:dashif:org:cpix}Data"))


def check_secrets(studio: Studio) -> None:
    """No key is in the log, in a command line, in a file that stays."""
    keys = [key_of(scheme, label).hex() for scheme in ("cenc", "cbcs", "aes") for label in ("HD", "SD", "AUDIO")]
    commands = "\n".join(" ".join(run.argv) for context in studio.contexts for run in context.runs)
    documents = [path.read_text(errors="replace") for path in studio.folder.rglob("*.json")]
    for text in (studio.log.text, commands, *documents):
        assert not [key for key in keys if key in text]
    assert not list(studio.folder.rglob("*.flags"))


async def test_turning_protection_on_and_off(studio: Studio) -> None:
    """What is missing is made, bit for bit what it was; what is there is switched to."""
    await studio.stream(drm=["clear"], trickplay=True, trickplay_thumbnail_interval=2)
    before = {path.name: path.read_bytes() for path in (set_of(studio, "clear") / "video_1").glob("*.m4s")}

    with pytest.raises(InputFault, match="drm: the asset has no protected manifest"):
        await studio.run("drmswitch", folder="film")
    answer = await studio.run("drmswitch", folder="film", drm=["widevine"])
    assert answer["message"] == str(studio.output / "film.m3u8")
    assert answer["manifests"]["dash"] == str(studio.output / "film.mpd")
    assert str(set_of(studio, "cenc") / "master.m3u8") in answer["files"]
    assert (hls_set(studio), dash_base(studio)) == ({"cenc"}, "v/3-1/cenc/")
    assert sorted(path.name for path in (studio.output / "v").iterdir()) == ["1-1", "3-1"]
    check_listed(studio)
    assert frames(joined(set_of(studio, "cenc") / "video_1.m3u8"), key_of("cenc", "HD"))[1] == ""
    assert "#EXT-X-I-FRAME-STREAM-INF" in (studio.output / "film.m3u8").read_text()
    assert "#EXT-X-IMAGE-STREAM-INF" in (studio.output / "film.m3u8").read_text()

    await studio.run("drmswitch", folder="film", drm=["widevine"])
    assert (hls_set(studio), dash_base(studio)) == ({"clear"}, "v/1-1/clear/")
    await studio.run("drmswitch", folder="film")
    assert hls_set(studio) == {"cenc"}

    await studio.run("drmswitch", folder="film", drm=["fairplay"])
    assert (hls_set(studio), dash_base(studio)) == ({"cbcs"}, "v/6-1/cbcs/")
    assert metadata(studio)["sets"].keys() == {"clear", "cenc", "cbcs"}
    await studio.run("drmswitch", folder="film", drm=["playready", "widevine"])
    assert metadata(studio)["sets"]["cenc"]["systems"] == ["widevine", "playready"]
    assert not (studio.output / "v" / "3-1" / "cenc").exists()  # replaced
    check_listed(studio)

    await studio.stream(drm=["widevine"], trickplay=True, trickplay_thumbnail_interval=2)
    assert [path.name for path in (studio.output / "v").iterdir()] == ["8-1"]
    await studio.run("drmswitch", folder="film")
    assert hls_set(studio) == {"clear"}
    after = {path.name: path.read_bytes() for path in (set_of(studio, "clear") / "video_1").glob("*.m4s")}
    assert after == before
    check_listed(studio)


def check_listed(studio: Studio) -> None:
    """The description lists what is there, and nothing else."""
    listed = {file["path"] for file in metadata(studio)["files"]} | {"metadata.json"}
    there = {str(path.relative_to(studio.output)) for path in studio.output.rglob("*") if path.is_file()}
    assert {name for name in there if "joined" not in name} == listed


async def test_a_switch_keeps_the_document_and_wants_a_key_service_where_it_is_told_so(tmp_path: Path) -> None:
    """`download_cpix` of `drmswitch` puts the document of the new set beside the asset; `cpix` is refused where the client's
    provider is none."""
    studio = Studio(tmp_path)
    video_source(studio.source / "film.mp4", size="320x180", seconds=1)
    await studio.stream()
    with pytest.raises(
        InputFault, match="cpix: the client's key provider 'seed' is no key service of kind cpix but seed"
    ):
        await studio.run("drmswitch", folder="film", drm=["widevine"], cpix=True)
    assert hls_set(studio) == {"clear"}
    await studio.run("drmswitch", folder="film", drm=["widevine"])
    assert not (studio.output / "cpix.xml").exists()
    await studio.run("drmswitch", folder="film", drm=["fairplay"], download_cpix=True)
    root = etree.fromstring((studio.output / "cpix.xml").read_bytes())
    ids = {element.get("kid") for element in root.iter("{urn:dashif:org:cpix}ContentKey")}
    assert ids == {str(UUID(bytes=derive_key_id(SEED, "film", "cbcs", label))) for label in ("SD", "AUDIO")}
    assert not list(root.iter("{urn:dashif:org:cpix}Data"))
    check_listed(studio)


async def test_nothing_clear_is_stored_where_all_is_to_be_encrypted(studio: Studio) -> None:
    """With the key that the job gives; what is made of the asset needs a provider that has it."""
    key, key_id = "000102030405060708090a0b0c0d0e0f", "10112233-4455-6677-8899-aabbccddeeff"
    with pytest.raises(InputFault, match=r"playready_key: it must be 16 bytes, as 32 hex digits or in base64$"):
        await studio.stream(encrypt_ismv=True, playready_key="short")
    await studio.stream(encrypt_ismv=True, playready_key=f"{key_id}:{key}", enable_drm=False)
    assert hls_set(studio) == {"cenc"}
    assert not (studio.output / "v" / "2-1" / "clear").exists()
    assert metadata(studio)["sets"]["cenc"]["systems"] == ["playready"]
    folder = set_of(studio, "cenc")
    for name in ("video_1", "video_2", "audio_1"):
        assert str(UUID(bytes=mp4.read_protection(folder / name / "init.mp4").key_id or b"")) == key_id
        assert frames(joined(folder / f"{name}.m3u8"), bytes.fromhex(key))[1] == ""
    assert "enable_drm: there is no clear manifest" in studio.log.text
    with pytest.raises(InputFault, match="the key 10112233-4455-6677-8899-aabbccddeeff was not derived from this seed"):
        await studio.run("createmp4", source_folder="film")


async def test_what_is_made_of_a_protected_asset(tmp_path: Path) -> None:
    """By the provider's keys where nothing clear is stored; a new version has the same protections."""
    studio = Studio(tmp_path)
    video_source(studio.source / "film.mp4", size="320x180", seconds=2)
    await studio.stream(drm=["widevine", "fairplay"])
    await studio.run("createmp4", source_folder="film")
    assert [track.handler for track in mp4.read_movie(studio.output / "film.mp4").tracks] == ["vide", "soun"]
    await studio.run("trickplay", source_folder="film", trickplay_thumbnails=False)
    assert (hls_set(studio), dash_base(studio)) == ({"cbcs"}, "v/3-1/cenc/")
    assert not (studio.output / "v" / "3-1" / "clear").exists()
    assert metadata(studio)["sets"]["cbcs"]["systems"] == ["fairplay", "widevine"]

    stored = {key["label"]: key["key_id"] for key in metadata(studio)["sets"]["cenc"]["keys"]}
    studio.providers["seed"] = ProviderConfig("static", keys_file=tmp_path / "keys.yaml")
    (tmp_path / "keys.yaml").write_text(
        "film: ["
        + ", ".join(f"{{key_id: '{key_id}', key: '000102030405060708090a0b0c0d0e0f'}}" for key_id in stored.values())
        + "]"
    )
    with pytest.raises(InputFault, match=r"key_provider: 'seed' has another key [0-9a-f]{32} than the one that cenc"):
        await studio.run("createmp4", source_folder="film")

    studio.providers["seed"] = SEED_KEYS
    await studio.stream(drm=["aes"])
    assert (hls_set(studio), (studio.output / "film.mpd").exists()) == ({"aes"}, False)
    await studio.stream(drm=["clear"], output_folder="clear")
    always = studio.output.parent / "clear"
    await studio.run("createmp4", source_folder="film")
    assert [track.handler for track in mp4.read_movie(studio.output / "film.mp4").tracks] == ["vide", "soun"]
    await studio.run("drmswitch", folder="film")
    assert (hls_set(studio), (studio.output / "film.mpd").exists()) == ({"clear"}, True)
    for name in ("video_1.m3u8", "audio_1.m3u8"):
        (before,) = always.glob(f"v/*/clear/{name}")
        assert frames(joined(set_of(studio, "clear") / name)) == frames(joined(before))


async def test_names_of_isms_say_whether_it_is_protected(tmp_path: Path) -> None:
    """A new folder for each state."""
    studio = Studio(tmp_path, manifest_style="ism")
    video_source(studio.source / "film.mp4", size="320x180", seconds=1)
    answer = await studio.stream(drm=["clear", "cenc"])
    assert re.fullmatch(r"film_drm_[0-9a-f-]{36}\.ism", Path(answer["message"]).name)
    off = await studio.run("drmswitch", folder="film")
    assert re.fullmatch(r"film_nodrm_[0-9a-f-]{36}\.ism", Path(off["message"]).name)
    assert not Path(answer["message"]).exists()
    assert "../v/1-1/clear/video_1.m3u8" in (Path(off["message"]) / ".m3u8").read_text()


async def test_wrong_wishes_say_what_is_wrong(tmp_path: Path) -> None:
    """Early, and by the name of the parameter."""
    studio = Studio(tmp_path)
    video_source(studio.source / "film.mp4", size="320x180", seconds=1)
    with pytest.raises(InputFault, match="cpix: the client's key provider 'seed' is no key service"):
        await studio.stream(drm=["widevine"], cpix=True)
    studio.providers["seed"] = replace(SEED_KEYS, uris={})
    with pytest.raises(
        InputFault, match=r"drm: aes needs to tell players where the key is: set aes_key_uri of .* 'seed'"
    ):
        await studio.stream(drm=["aes"])
    assert not (studio.folder / "workspace").exists() or not list(studio.folder.rglob("video_1*"))
    assert not [line for level, line in studio.log.lines if level == "warning"]
    told = KeyProviderSettings(kind="seed").aes_key_uri
    assert told is not None
    studio.providers["seed"] = replace(SEED_KEYS, uris={"aes": told})
    await studio.stream(drm=["aes"])
    (warning,) = [line for level, line in studio.log.lines if level == "warning" and "aes" in line]
    assert re.search(
        r"key of aes at key://[0-9a-f]{32}, which is no address: aes_key_uri of .* 'seed' is not set", warning
    )
    assert re.search(r'METHOD=AES-128,URI="key://[0-9a-f]{32}"', (set_of(studio, "aes") / "video_1.m3u8").read_text())
    studio.key_provider = "sead"
    with pytest.raises(
        InputFault, match=r"key_provider: 'sead' is none of this worker's; known are seed; did you mean"
    ):
        await studio.stream(drm=["widevine"])
    studio.key_provider = None
    with pytest.raises(InputFault, match="drm: there is no key provider"):
        await studio.stream(drm=["aes"])
    with pytest.raises(InvalidRequest):
        await studio.stream(drm=["marlin"])


@pytest.mark.parametrize("encode", [True, False])
async def test_a_key_that_the_provider_lacks_is_missed_before_the_work_is_done(tmp_path: Path, *, encode: bool) -> None:
    """By the tracks that are to be: what is in the file for other classes of pictures is no help."""
    studio = Studio(tmp_path)
    video_source(studio.source / "film.mp4", size="320x180", seconds=1)
    key = "key_id: '10112233-4455-6677-8899-aabbccddeeff', key: '000102030405060708090a0b0c0d0e0f'"
    (tmp_path / "keys.yaml").write_text(f"film: [{{label: HD, {key}}}, {{label: AUDIO, {key}}}]")
    studio.providers["seed"] = ProviderConfig("static", keys_file=tmp_path / "keys.yaml")
    with pytest.raises(InputFault, match=r"key_providers\.seed: there is no key for SD by cenc of the content 'film'"):
        await studio.stream(drm=["widevine"], encode_source=encode)
    done = [context.task.handler for context in studio.contexts]
    assert done[-2:] == ["ask_keys", "discard"]
    assert not {"transcode", "package"} & set(done)

    (tmp_path / "keys.yaml").write_text(f"film: [{{label: SD, {key}}}, {{label: AUDIO, {key}}}]")
    await studio.stream(drm=["widevine"], encode_source=encode)  # one key under two labels
    for name in ("video_1", "audio_1"):
        assert frames(joined(set_of(studio, "cenc") / f"{name}.m3u8"), bytes(range(16)))[1] == ""


async def test_a_key_service_gives_keys_and_what_players_are_told(tmp_path: Path) -> None:
    """Encrypted on the way; each track has its own key's box in MPD and playlists, and what is switched later opens."""
    studio = Studio(tmp_path, key_provider="service")
    video_source(studio.source / "film.mp4", size="320x180", seconds=2)
    private_key, certificate = make_recipient(tmp_path)
    async with KeyService() as service, GuardedClients() as clients:
        at = Service(service.url, {"Authorization": "Bearer sesame"}, private_key, certificate)
        studio.providers["service"] = ProviderConfig("cpix", service=at, uris={"fairplay": "skd://{key_id}"})
        studio.outbound = Fetcher(clients, networks(["127.0.0.0/8"]), user_agent="tests")
        await studio.stream(drm=["widevine", "playready", "fairplay"], cpix=True, download_cpix=True)
        folder = set_of(studio, "cbcs")
        root = etree.fromstring((folder / "manifest.mpd").read_bytes())
        for name in ("video_1", "audio_1"):
            key_id = UUID(bytes=mp4.read_protection(folder / name / "init.mp4").key_id or b"")
            key = service.keys[str(key_id)]
            assert frames(joined(folder / f"{name}.m3u8"), key)[1] == ""
            own = b"of the service for " + key_id.bytes
            template = root.find(f".//{MPD}SegmentTemplate[@initialization='{name}/init.mp4']")
            assert template is not None
            [adaptation] = template.iterancestors(f"{MPD}AdaptationSet")
            box = adaptation.findtext(f"{MPD}ContentProtection[@schemeIdUri='urn:uuid:{SYSTEMS['widevine']}']/{PSSH}")
            assert box is not None
            assert read_pssh(base64.b64decode(box)).data == own
            keys = {
                key.get("KEYFORMAT"): key["URI"] for key in hls_keys.read_keys((folder / f"{name}.m3u8").read_text())
            }
            assert base64.b64decode(keys[f"urn:uuid:{SYSTEMS['widevine']}"].partition("base64,")[2]).endswith(own)
            assert keys["com.apple.streamingkeydelivery"] == f"https://service.example/{key_id}"
        kept = (studio.output / "cpix.xml").read_text()
        assert all(kid in kept for kid in service.keys)
        assert "EncryptedValue" not in kept
        await studio.run("drmswitch", folder="film", cpix=True)
        assert hls_set(studio) == {"clear"}
        assert frames(joined(set_of(studio, "clear") / "video_1.m3u8"))[1] == ""
        assert len(service.keys) == 4  # asked for again by their ids, not anew
        commands = "\n".join(" ".join(run.argv) for context in studio.contexts for run in context.runs)
        assert not [key for key in service.keys.values() if key.hex() in commands + studio.log.text]
