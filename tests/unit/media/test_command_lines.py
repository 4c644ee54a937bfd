"""Golden tests: whole command lines."""

from __future__ import annotations

from fractions import Fraction

import pytest

from taskengine.media import copying, encode_argv, ffmpeg, packager
from taskengine.media.deciding import Wishes, decide
from taskengine.media.profiles import AudioProfile, Profile, Rung, VideoProfile
from taskengine.media.thumbnails import grid
from taskengine.media.timing import Timing
from taskengine.media.tracks import Media, Track, TrackKind
from tests.support.media import audio_track, source_of, video_track

BASE = "ffmpeg -nostdin -y -hide_banner -loglevel level+warning -progress pipe:1 -nostats"
LIMITS = "-protocol_whitelist file -format_whitelist mov,mp4,m4a,3gp,3g2,mj2,mpegts,mpeg,mpegvideo,matroska,webm,avi,mxf,aac,mp3,wav,w64,flac,ac3,eac3,ogg"  # fmt: skip
PROFILE = Profile(
    name="T",
    video=(
        VideoProfile(
            encoder="libx264",
            rungs=(
                Rung(width=1280, height=720, crf=21, max_bitrate=3_000_000),
                Rung(width=640, height=360, crf=23, max_bitrate=800_000, profile="main"),
            ),
        ),
    ),
    audio=AudioProfile(),
)
VIDEO_END = (
    "-force_key_frames expr:gte(t,n_forced*4) -x264-params scenecut=0:open-gop=0:keyint=infinite "
    "-fps_mode passthrough -map_metadata -1 -map_chapters -1"
)


def test_a_plain_encoding() -> None:
    """One decode, two rungs, poster and previews as branches, the sound once."""
    encoding = decide([source_of(video_track(), audio_track())], PROFILE, Wishes(poster_time=3, preview_interval=5))
    assert " ".join(encode_argv.transcode("ffmpeg", encoding)[0]) == (
        f"{BASE} -reinit_filter:v 0 {LIMITS} -i source_1.mp4 -filter_complex "
        "[0:0]setpts=PTS-STARTPTS,fps=25/1,format=yuv420p,split=3[s_video_1][s_poster][s_previews];"
        "[s_video_1]scale=1280:720:out_range=tv,setsar=1,split=2[video_1][s_video_2];"
        "[s_video_2]scale=640:360:out_range=tv,setsar=1[video_2];"
        "[s_poster]select='gte(t,2.999)',scale=1280:720,setsar=1[poster];"
        "[s_previews]select='isnan(prev_selected_t)+gt(floor((t+0.001)/5),floor((prev_selected_t+0.001)/5))',"
        "scale=160:90,setsar=1,tile=2x1[previews];"
        "[0:1]aresample=48000:async=1:first_pts=0,aformat=channel_layouts=stereo,apad=whole_dur=10,atrim=end=10[audio_1] "
        "-map [video_1] -c:v libx264 -preset veryfast -profile:v high -crf 21 -maxrate 3000000 -bufsize 6000000 "
        f"{VIDEO_END} video_1.mp4 "
        "-map [video_2] -c:v libx264 -preset veryfast -profile:v main -crf 23 -maxrate 800000 -bufsize 1600000 "
        f"{VIDEO_END} video_2.mp4 "
        "-map [audio_1] -c:a aac -b:a 128000 -map_metadata -1 -map_chapters -1 audio_1.mp4 "
        "-map [poster] -frames:v 1 -q:v 3 -update 1 -f image2 poster.jpg "
        "-map [previews] -fps_mode passthrough -q:v 4 -f image2 sheet_%d.jpg"
    )


def test_a_hard_source() -> None:
    """Interlaced, HDR, at 29.97, its sound 80 ms earlier and with six channels."""
    timing = Timing(300, 300, 1.48, 11.456, Fraction(30000, 1001), constant=True)
    video = video_track(interlaced=True, transfer="smpte2084", timing=timing, width=640, height=360)
    encoding = decide([source_of(video, audio_track(channels=6, sample_rate=44_100))], PROFILE, Wishes())
    (argv,) = encode_argv.transcode("ffmpeg", encoding)
    graph = argv[argv.index("-filter_complex") + 1]
    assert graph == (
        "[0:0]setpts=PTS-STARTPTS,bwdif=mode=send_frame:deint=all,fps=30000/1001,tpad=stop=2:stop_mode=clone,trim=end_frame=300,"
        "setparams=colorspace=bt2020nc:color_primaries=bt2020,zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=hable:desat=0,"
        "zscale=t=bt709:m=bt709:r=tv,format=yuv420p,split=1[s_video_1];"
        "[s_video_1]scale=640:360:out_range=tv,setsar=1[video_1];"
        "[0:1]asplit=2[s_audio_1][s_audio_2];"
        "[s_audio_1]asetpts=PTS-(1.48)/TB,aresample=44100:async=1:first_pts=0,aformat=channel_layouts=stereo,"
        "apad=whole_dur=10.01,atrim=end=10.01[audio_1];"
        "[s_audio_2]asetpts=PTS-(1.48)/TB,aresample=44100:async=1:first_pts=0,aformat=channel_layouts=5.1,"
        "apad=whole_dur=10.01,atrim=end=10.01[audio_2]"
    )


def test_poster_and_previews_of_a_source_that_is_not_encoded() -> None:
    """The poster by input seek, the previews from key frames alone."""
    assert " ".join(ffmpeg.poster("ffmpeg", "source_1.mkv", 0, 2.5, (320, 240))) == (
        f"{BASE} -ss 2.5 {LIMITS} -i source_1.mkv -map 0:0 -vf scale=320:240,setsar=1 "
        "-frames:v 1 -q:v 3 -update 1 -f image2 poster.jpg"
    )
    wanted = grid((1920, 1080), 25.0, 24.96, 10)
    assert " ".join(ffmpeg.previews("ffmpeg", "source_1.mkv", 0, wanted)) == (
        f"{BASE} -skip_frame nokey {LIMITS} -i source_1.mkv -map 0:0 -vf setpts=PTS-STARTPTS,"
        "fps=fps=1/10:round=up:start_time=0,tpad=stop=-1:stop_mode=clone,trim=end_frame=3,"
        "scale=160:90,setsar=1,tile=3x1 -fps_mode passthrough -q:v 4 -f image2 sheet_%d.jpg"
    )


def test_images_of_hdr_are_mapped_to_sdr() -> None:
    """Only of the frames that are left."""
    look = [*ffmpeg.assumed({"colorspace": "bt2020nc"}), *ffmpeg.TONE_MAP]
    mapped = (
        "setparams=colorspace=bt2020nc,zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,"
        "tonemap=tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,scale="
    )
    poster = ffmpeg.poster("ffmpeg", "source_1.mkv", 0, 0, (320, 240), look=look)
    assert poster[poster.index("-vf") + 1].startswith(mapped)
    previews = ffmpeg.previews("ffmpeg", "source_1.mkv", 0, grid((1920, 1080), 25.0, 24.96, 10), look=look)
    assert f"trim=end_frame=3,{mapped}160:90" in previews[previews.index("-vf") + 1]


def test_copying_tracks_out_of_a_container() -> None:
    """HEVC gets the tag that Apple's players want."""
    assert " ".join(
        ffmpeg.remux(
            "ffmpeg",
            "source_1.mkv",
            [copying.Output(0, "hevc", "video_1.mp4"), copying.Output(1, "aac", "audio_1.mp4")],
        )
    ) == (
        f"{BASE} {LIMITS} -i source_1.mkv -map 0:0 -c copy -tag:v hvc1 -map_metadata -1 -map_chapters -1 -f mp4 "
        "video_1.mp4 -map 0:1 -c copy -map_metadata -1 -map_chapters -1 -f mp4 audio_1.mp4"
    )


def test_a_progressive_mp4() -> None:
    """Copied, with the index first."""
    tracks = [("in_video_1.mp4", TrackKind.VIDEO, "und"), ("in_audio_1.mp4", TrackKind.AUDIO, "en")]
    assert " ".join(ffmpeg.progressive("ffmpeg", tracks, "out.mp4")) == (
        f"{BASE} -copyts {LIMITS} -i in_video_1.mp4 {LIMITS} -i in_audio_1.mp4 -map 0:v:0 -metadata:s:0 language=und "
        "-map 1:a:0 -metadata:s:1 language=eng -c copy -map_chapters -1 -movflags +faststart -f mp4 out.mp4"
    )


def test_segments_are_decoded_in_one_process() -> None:
    """Each with its init segment."""
    inputs = [
        "concat:set/video_1/init.mp4|set/video_1/00001.m4s", "concat:set/audio_1/init.mp4|set/audio_1/00002.m4s",
    ]  # fmt: skip
    assert " ".join(ffmpeg.decode_check("ffmpeg", inputs)) == (
        f"{BASE} -protocol_whitelist concat,file -format_whitelist mov -i concat:set/video_1/init.mp4|set/video_1/00001.m4s "
        "-protocol_whitelist concat,file -format_whitelist mov -i concat:set/audio_1/init.mp4|set/audio_1/00002.m4s "
        "-map 0:0 -map 1:0 -f null -"
    )


def test_packaging() -> None:
    """Generated names, a group per kind of sound, the first language as the default; no text."""
    tracks = [
        Track("video_1", TrackKind.VIDEO, "h264", 10.0),
        Track("audio_1", TrackKind.AUDIO, "aac", 10.0, language="en", channels=2),
        Track("audio_2", TrackKind.AUDIO, "aac", 10.0, language="de", channels=2, role="description"),
        Track("audio_3", TrackKind.AUDIO, "aac", 10.0, language="en", channels=6),
        Track("text_1", TrackKind.TEXT, "webvtt", 10.0, language="en", label="a,in=/etc/passwd"),
    ]
    files = {track.name: f"{track.name}.mp4" for track in tracks}
    common = "init_segment=set/{0}/init.mp4,segment_template=set/{0}/$Number%05d$.m4s,playlist_name={0}.m3u8"
    assert packager.package("packager", Media(tracks, 10.0), files, "set") == [
        "packager", "--quiet",
        "in=video_1.mp4,stream=video," + common.format("video_1"),
        "in=audio_1.mp4,stream=audio," + common.format("audio_1") + ",hls_group_id=audio,hls_name=audio_1,language=en"
        ",dash_label=audio_1",
        "in=audio_2.mp4,stream=audio," + common.format("audio_2")
        + ",hls_group_id=audio,hls_name=audio_2,language=de,dash_label=audio_2",
        "in=audio_3.mp4,stream=audio," + common.format("audio_3") + ",hls_group_id=audio_2,hls_name=audio_1,language=en"
        ",dash_label=audio_1",
        "--segment_duration", "4", "--generate_static_live_mpd", "--hls_playlist_type", "VOD",
        "--mpd_output", "set/manifest.mpd", "--hls_master_playlist_output", "set/master.m3u8",
        "--default_language", "en",
    ]  # fmt: skip


def test_an_mp4_that_fits_is_packaged_as_it_is_and_others_are_copied_out() -> None:
    """QuickTime's brand, a second audio track or an edit is reason enough to copy."""
    fits = source_of(video_track(), audio_track())
    plan = copying.decide([fits], all_audio_tracks=True)
    assert plan.files == ["source_1.mp4"]
    assert plan.remuxed == []
    edited = Timing(252, 250, 0.0, 9.96, Fraction(25), constant=True, key_frames=(0.0,))
    for source in (
        source_of(video_track(), audio_track(), audio_track(index=2)),
        source_of(video_track(timing=edited), audio_track()),
        source_of(video_track(), audio_track(), plain="source_1.mkv"),
    ):
        plan = copying.decide([source], all_audio_tracks=True)
        assert plan.files[:2] == ["video_1.mp4", "audio_1.mp4"]
        assert plan.remuxed[0][1][0] == copying.Output(0, "h264", "video_1.mp4")


def test_what_an_edit_list_leaves_out_is_copied_from_zero_on() -> None:
    """All tracks of the source are moved alike: packager takes no time below zero."""
    cut = Timing(252, 250, 0.0, 9.96, Fraction(25), constant=True, key_frames=(), preroll=0.08)
    plan = copying.decide([source_of(video_track(timing=cut), audio_track())], all_audio_tracks=True)
    argv = ffmpeg.remux("ffmpeg", *plan.remuxed[0])
    assert [argv[place + 1] for place, word in enumerate(argv) if word == "-output_ts_offset"] == ["0.08", "0.08"]
    assert "cut between key frames" in plan.notes[0]


def test_previews_are_of_key_frames_alone_where_these_decode_alone() -> None:
    """The key frames of open groups of H.264 do not."""
    wanted = grid((320, 240), 10, 9.96, 5)
    assert "-skip_frame" in ffmpeg.previews("ffmpeg", "source_1.mp4", 0, wanted)
    assert "-skip_frame" not in ffmpeg.previews("ffmpeg", "source_1.mp4", 0, wanted, keys_alone=False)


def test_an_hdr_track_that_says_its_colours_is_believed() -> None:
    """Only what it leaves unsaid is assumed."""
    track = video_track(transfer="arib-std-b67", matrix="bt2020nc", primaries="unknown")
    encoding = decide([source_of(track)], PROFILE, Wishes())
    assert "setparams=color_primaries=bt2020,zscale" in " ".join(encode_argv.transcode("ffmpeg", encoding)[0])


@pytest.mark.parametrize(
    ("said", "pixel_format", "count"),
    [(None, "yuv420p", 1), ("tv", "yuv420p", 0), ("pc", "yuv420p", 0), (None, "yuvj420p", 0), (None, "gbrp", 0)],
)
def test_yuv_that_does_not_say_its_range_is_in_the_narrow_one(said: str | None, pixel_format: str, count: int) -> None:
    """Said to the filters, a picture of the right size passes as it is; what is in the full range must not be called narrow."""
    encoding = decide([source_of(video_track(color_range=said, pixel_format=pixel_format))], PROFILE, Wishes())
    assert " ".join(encode_argv.transcode("ffmpeg", encoding)[0]).count("setparams=range=tv") == count
