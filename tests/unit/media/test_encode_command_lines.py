"""Golden tests: the command lines of passes, chunks, mixes, loudness and quality."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from taskengine.media import audio_argv, encode_argv, quality_argv
from taskengine.media.chunks import Plan, cut
from taskengine.media.deciding import Wishes, decide
from taskengine.media.encoding import Encoding, VideoEncoding
from taskengine.media.light import Light
from taskengine.media.loudness import Measured
from taskengine.media.profiles import AudioProfile, Chunks, Loudness, Profile, Rung, VideoProfile
from taskengine.media.timing import Timing
from tests.support.media import audio_track, source_of, video_track
from tests.unit.media.test_command_lines import BASE, LIMITS

SMALL = Rung(width=640, height=360, crf=23, max_bitrate=800_000, bitrate=500_000)
PLAIN = "-map_metadata -1 -map_chapters -1"
STEADY = "-reinit_filter:v 0"
AVC = "-x264-params scenecut=0:open-gop=0:keyint=infinite"
HEVC = "-forced-idr 1 -x265-params log-level=warning:info=0:scenecut=0:open-gop=0:keyint=100000:min-keyint=1{0} -tag:v hvc1"
NTSC = Timing(600, 600, 0.0, 599 * 1001 / 30000, Fraction(30000, 1001), constant=True, key_frames=(0.0,))


def mix(**changes: object) -> Profile:
    """Three encoders of one small rung; HEVC and AV1 keep HDR."""
    groups = (
        VideoProfile(encoder="libx264", rungs=(SMALL,)),
        VideoProfile(encoder="libx265", hdr="keep", rungs=(SMALL,)),
        VideoProfile(encoder="libsvtav1", preset="8", hdr="keep", rungs=(SMALL,)),
    )
    return Profile(name="M", video=groups).model_copy(update=changes)


def video_of(encoding: Encoding) -> VideoEncoding:
    """Its video, which is there."""
    assert encoding.video is not None
    return encoding.video


def test_two_passes_measure_the_video_first() -> None:
    """The first pass writes nothing but its log; AV1 has one pass, after those that have two."""
    profile = mix(video=tuple(reversed(mix().video)))
    encoding = decide([source_of(video_track(), audio_track())], profile, Wishes(mode="MULTIPASS"))
    first, second = (" ".join(argv) for argv in encode_argv.transcode("ffmpeg", encoding))
    keys = "-force_key_frames expr:gte(t,n_forced*4)"
    rate = "-b:v 500000 -maxrate 800000 -bufsize 1600000"
    graph = "[0:0]setpts=PTS-STARTPTS,fps=25/1,format=yuv420p,split={0}"
    assert first == (
        f"{BASE} {STEADY} {LIMITS} -i source_1.mp4 -filter_complex {graph.format(1)}[s_video_2];"
        "[s_video_2]scale=640:360:out_range=tv,setsar=1,split=2[video_2][video_3] "
        f"-map [video_2] -c:v libx265 -preset veryfast -profile:v main {rate} {keys} {HEVC.format('')} "
        "-pass 1 -passlogfile video_2 -fps_mode passthrough -f null - "
        f"-map [video_3] -c:v libx264 -preset veryfast -profile:v high {rate} {keys} {AVC} "
        "-pass 1 -passlogfile video_3 -fps_mode passthrough -f null -"
    )
    ends = second[second.index(" -map ") :]
    assert ends == (
        f" -map [video_2] -c:v libx265 -preset veryfast -profile:v main {rate} {keys} {HEVC.format('')} "
        f"-pass 2 -passlogfile video_2 -fps_mode passthrough {PLAIN} video_2.mp4 "
        f"-map [video_3] -c:v libx264 -preset veryfast -profile:v high {rate} {keys} {AVC} "
        f"-pass 2 -passlogfile video_3 -fps_mode passthrough {PLAIN} video_3.mp4 "
        f"-map [video_1] -c:v libsvtav1 -preset 8 -crf 23 -maxrate 800000 -bufsize 1600000 {keys} -g 100000 "
        f"-svtav1-params scd=0 -fps_mode passthrough {PLAIN} video_1.mp4 "
        f"-map [audio_1] -c:a aac -b:a 128000 {PLAIN} audio_1.mp4"
    )
    assert encoding.notes == [
        "encoding_mode: libsvtav1 has no second pass that is fit for use: its renditions have one"
    ]


def test_hdr_is_kept_where_it_can_be_and_mapped_beside_it() -> None:
    """One decode; the poster is made of what is SDR; ten bits have their profile."""
    track = video_track(transfer="smpte2084", matrix="bt2020nc", primaries="bt2020", pixel_format="yuv420p10le")
    light = Light((0.265, 0.69, 0.15, 0.06, 0.68, 0.32, 0.3127, 0.329, 1000, 0.0001), (1000, 400))
    encoding = decide([source_of(track, light=light)], mix(), Wishes(poster_time=0))
    (argv,) = encode_argv.transcode("ffmpeg", encoding)
    assert argv[argv.index("-filter_complex") + 1] == (
        "[0:0]setpts=PTS-STARTPTS,fps=25/1,split=2[g_1][g_2];"
        "[g_1]zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=hable:desat=0,"
        "zscale=t=bt709:m=bt709:r=tv,format=yuv420p,split=2[s_video_1][s_poster];"
        "[s_video_1]scale=640:360:out_range=tv,setsar=1[video_1];"
        "[s_poster]select='gte(t,-0.001)',scale=640:360,setsar=1[poster];"
        "[g_2]format=yuv420p10le,split=1[s_video_2];"
        "[s_video_2]scale=640:360:out_range=tv,setsar=1,split=2[video_2][video_3]"
    )
    assert [argv[place + 1] for place, word in enumerate(argv) if word == "-profile:v"] == ["high", "main10"]
    assert argv[argv.index("-x265-params") + 1].endswith(
        ":min-keyint=1:master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):max-cll=1000,400"
    )
    assert argv[argv.index("-svtav1-params") + 1] == (
        "scd=0:mastering-display=G(0.265,0.69)B(0.15,0.06)R(0.68,0.32)WP(0.3127,0.329)L(1000,0.0001):content-light=1000,400"
    )
    assert "master" not in argv[argv.index("-x264-params") + 1]
    assert [track.hdr for track in encoding.tracks()] == [False, True, True]
    assert "film.mp4: it is HDR: kept, and mapped to SDR beside it" in encoding.notes


def test_a_chunk_begins_between_two_frames_and_keeps_the_grid() -> None:
    """The grid of the whole goes on in it, a fraction of a frame ahead; its buffer begins half full."""
    encoding = decide([source_of(video_track(timing=NTSC))], mix(), Wishes())
    chunks = cut(encoding, Chunks(above=5, duration=8))
    assert [(chunk.first, chunk.frames, chunk.keys_ahead) for chunk in chunks] == [
        (0, 240, 0.0), (240, 240, 0.008), (480, 120, 0.016),
    ]  # fmt: skip
    whole = replace(
        encoding, video=replace(video_of(encoding), renditions=video_of(encoding).renditions[:2], begin=1.5)
    )
    keys = "-force_key_frames expr:gte(t+0.008,n_forced*4)"
    rate = "-crf 23 -maxrate 800000 -bufsize 1600000"
    end = f"-fps_mode passthrough -video_track_timescale 30000 {PLAIN}"
    assert " ".join(encode_argv.chunk("ffmpeg", whole, chunks[1])) == (
        f"{BASE} -ss 9.491317 {LIMITS} -i source_1.mp4 -filter_complex "
        "[0:0]setpts=PTS-STARTPTS,fps=30000/1001,trim=end_frame=240,format=yuv420p,split=1[s_video_1];"
        "[s_video_1]scale=640:360:out_range=tv,setsar=1,split=2[video_1][video_2] "
        f"-map [video_1] -c:v libx264 -preset veryfast -profile:v high {rate} {keys} {AVC}:vbv-init=0.4 {end} video_1.mp4 "
        f"-map [video_2] -c:v libx265 -preset veryfast -profile:v main {rate} {keys} {HEVC.format(':vbv-init=0.4')} {end} "
        "video_2.mp4"
    )
    first = " ".join(encode_argv.chunk("ffmpeg", whole, chunks[0]))
    assert "-ss" not in first
    assert "vbv-init" not in first


def test_chunks_are_joined_with_every_frame_on_its_tick() -> None:
    """A rate of whole numbers gets ticks enough."""
    encoding = decide([source_of(video_track(timing=NTSC))], mix(), Wishes())
    video = video_of(encoding)
    assert " ".join(encode_argv.join("ffmpeg", video, video.renditions[1])) == (
        f"{BASE} -protocol_whitelist file -format_whitelist concat,mov -f concat -i video_2_chunks.txt -map 0:v:0 -c copy "
        "-bsf:v setts=pts=round(PTS/1001)*1001:dts=round(DTS/1001)*1001 -tag:v hvc1 -video_track_timescale 30000 "
        f"{PLAIN} video_2.mp4"
    )
    assert [encode_argv.timescale(Fraction(*rate)) for rate in ((25, 1), (24000, 1001), (25, 2), (1, 1))] == [
        10_000, 24_000, 10_000, 10_000,
    ]  # fmt: skip


def test_frames_are_made_countable_before_chunks_are_cut() -> None:
    """The chunks read the copy, of which every frame counts."""
    varying = Timing(90, 90, 0.5, 9.96, Fraction(25), constant=False)
    encoding = decide([source_of(video_track(timing=varying, interlaced=True))], mix(), Wishes())
    assert " ".join(encode_argv.normalise("ffmpeg", encoding)) == (
        f"{BASE} {LIMITS} -i source_1.mp4 -filter_complex [0:0]setpts=PTS-STARTPTS,bwdif=mode=send_frame:deint=all,fps=25/1,"
        "tpad=stop=2:stop_mode=clone,trim=end_frame=238,format=yuv420p[video] -map [video] -c:v libx264 -preset ultrafast "
        f"-crf 6 -g 25 -fps_mode passthrough -video_track_timescale 10000 {PLAIN} normalised.mp4"
    )
    chunks = cut(encoding, Chunks(above=5, duration=4))
    plan = Plan(encoding, chunks, normalise=True)
    argv = " ".join(encode_argv.chunk("ffmpeg", plan.of_chunks, chunks[1]))
    assert "-ss 3.98 " in argv
    assert "-i normalised.mp4 -filter_complex [0:0]setpts=PTS-STARTPTS,fps=25/1,trim=end_frame=100,format" in argv


def test_what_fits_is_copied_to_begin_at_zero() -> None:
    """Beside what is encoded, after it."""
    track = video_track(width=640, height=360, bitrate=500_000, profile="High", timing=replace(NTSC, first=0.0))
    keys = tuple(number * 2.002 for number in range(10))
    timing = Timing(600, 600, 0.08, 0.08 + 599 * 1001 / 30000, Fraction(30000, 1001), constant=True, key_frames=keys,
                    all_keys=True)  # fmt: skip
    encoding = decide([source_of(replace(track, timing=timing, pixel_format="yuv420p"))], mix(), Wishes())
    (argv,) = encode_argv.transcode("ffmpeg", encoding)
    assert [rendition.copied for rendition in video_of(encoding).renditions] == [True, False, False]
    assert " ".join(argv).endswith(f"video_3.mp4 -map 0:0 -c:v copy -output_ts_offset -0.08 {PLAIN} video_1.mp4")


def test_loudness_is_measured_of_every_rendition_and_set_by_one_gain() -> None:
    """The first pass writes what it measures; the second cannot pass the peak, and comes back from 192 kHz."""
    audio = AudioProfile(loudness=Loudness(), downmix="dialogue")
    encoding = decide([source_of(video_track(), audio_track(channels=6))], mix(audio=audio), Wishes())
    assert " ".join(audio_argv.measure_loudness("ffmpeg", encoding)) == (
        f"{BASE} {LIMITS} -i source_1.mp4 -filter_complex [0:1]asplit=2[s_audio_1][s_audio_2];"
        "[s_audio_1]asidedata=mode=delete:type=DOWNMIX_INFO,aresample=48000:async=1:first_pts=0:center_mix_level=1:surround_mix_level=0.5,"
        "aformat=channel_layouts=stereo,loudnorm=I=-23:TP=-1:print_format=json:stats_file=audio_1_loudness.json[audio_1];"
        "[s_audio_2]aresample=48000:async=1:first_pts=0,aformat=channel_layouts=5.1,"
        "loudnorm=I=-23:TP=-1:print_format=json:stats_file=audio_2_loudness.json[audio_2] "
        "-map [audio_1] -f null - -map [audio_2] -f null -"
    )
    loud = Measured(-30.0, -4.0, 60.0, -40.0)
    silent = Measured(float("-inf"), float("-inf"), 0.0, -70.0)
    known = replace(
        encoding,
        audio=[replace(track, loudness=found) for track, found in zip(encoding.audio, (loud, silent), strict=True)],
    )
    (argv,) = encode_argv.transcode("ffmpeg", known)
    graph = argv[argv.index("-filter_complex") + 1]
    assert (
        "aformat=channel_layouts=stereo,loudnorm=I=-27.01:TP=-1.00:LRA=50.00:measured_I=-30.00:measured_TP=-4.00:"
        "measured_LRA=50.00:measured_thresh=-40.00:linear=true,aresample=48000,apad=whole_dur=10,atrim=end=10[audio_1]"
    ) in graph
    assert "aformat=channel_layouts=5.1,apad=whole_dur=10,atrim=end=10[audio_2]" in graph


def test_quality_is_judged_at_the_sources_size() -> None:
    """Never above 1080p, which the model knows; each rendition beside the same frames."""
    encoding = decide([source_of(video_track(width=3840, height=2160))], mix(), Wishes())
    argv = quality_argv.vmaf("ffmpeg", video_of(encoding), "source_1.mp4", ["video_1", "video_2"], every=5)
    same = "scale=1920:1080:flags=bicubic,setsar=1,format=yuv420p"
    ends = "n_threads=4:n_subsample=5:shortest=1:ts_sync_mode=nearest"
    file = "-protocol_whitelist file -format_whitelist mov"
    assert " ".join(argv) == (
        f"{BASE} {file} -i video_1.mp4 {file} -i video_2.mp4 {LIMITS} -i source_1.mp4 -filter_complex "
        f"[2:0]setpts=PTS-STARTPTS,fps=25/1,format=yuv420p,{same},split=2[r_video_1][r_video_2];"
        f"[0:v:0]setpts=PTS-STARTPTS,{same}[d_video_1];"
        f"[d_video_1][r_video_1]libvmaf=log_fmt=json:log_path=video_1_vmaf.json:{ends}[o_video_1];"
        f"[1:v:0]setpts=PTS-STARTPTS,{same}[d_video_2];"
        f"[d_video_2][r_video_2]libvmaf=log_fmt=json:log_path=video_2_vmaf.json:{ends}[o_video_2] "
        "-map [o_video_1] -f null - -map [o_video_2] -f null -"
    )
