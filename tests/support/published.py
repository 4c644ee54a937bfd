"""A payload of every published workflow, as clients of the original send them: texts for numbers and booleans too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_DRM = {
    "drm": ["clear"], "encrypted": "false", "cpix": "false",
    "download_cpix": "false", "encrypt_ismv": "false", "playready_key": None,
}  # fmt: skip
_IMAGES = {
    "create_thumbnail": "true", "thumbnail_time": "00:00:02.500", "preview_thumbnails": "true",
    "preview_thumbnails_interval": "10",
}  # fmt: skip
_MP4 = {"generate_mp4": "true", "mp4_filename": "demo1.mp4", "mezzanine": "false"}
_TRACKS = {
    "apply_track_properties": "true",
    "track_properties": {
        "audio": [{"language": "eng", "role": "main", "properties": {"track_name": "English", "track_role": "main"}}],
        "textstream": [{"language": "", "kind": "captions", "properties": {"track_language": "eng"}}],
    },
}
_TRICKPLAY = {
    "trickplay": "true", "trickplay_thumbnails": "true", "trickplay_thumbnail_size": "320",
    "trickplay_thumbnail_interval": "10", "trickplay_thumbnail_quality": "30",
}  # fmt: skip
_COMMON = {
    "content_id": "demo1", "rest_endpoints": ["https://example.com/api/event/callback"],
    "custom_data": {"ref": 1, "flag": "true"},
}  # fmt: skip
_ASSET = {**_DRM, **_IMAGES, **_MP4, **_TRACKS, **_TRICKPLAY}
_LOCAL = {"source_storage": "local", "destination_storage": "local"}

PARAMETERS: Mapping[str, Mapping[str, Any]] = {
    "vodstream": {
        "source_folder": "/in/demo1", "output_folder": "/out/demo1/", "delete_source": "false", "retries": "3", **_LOCAL,
        "combine_sources": "true", "create_dref": "true", "all_audio_tracks": "true",
        "file_properties": {"demo1_eng.srt": {"kind": "captions", "language": "eng"}}, "encode_source": "true",
        "encoding_profile": "H264", "encoding_mode": "STANDARD", "encoding_region": "aws-eu-west-1",
        "encoder_version": "STABLE", "extract_audio": "true", **_ASSET,
    },
    "vodcapture": {
        "output_folder": "/out/capture1",
        "clips": [
            {
                "source": "https://example.com/live/channel.isml/.mpd", "start": "2020-01-01T10:00:00.000",
                "end": "2020-01-01T10:30:00.000Z", "filter": 'type=="audio"||type=="video"&&systemBitrate==1300000',
                "key_id": "<key id>", "content_key": "<content key>",
            },
            {"sources": ["https://a.example.com/x.m3u8", "https://b.example.com/x.m3u8"], "start": "00:10:00.000"},
            {"local_source": "archive/one.ism", "seed": "<seed>"},
        ],
        "frame_accurate": "true", "copy_ts": "false", "generate_vod": "true", "create_dref": "true",
        "empty_target": "true", "destination_storage": "local", "transcode_proxy": "https://example.com/proxy",
        "continuous_capture": "false", **_ASSET,
    },
    "voddelete": {"folder": "/out/demo1", "source_storage": "local"},
    "drmswitch": {
        "folder": "/out/demo1", "drm": [], "cpix": "false", "download_cpix": "false",
        "source_storage": "local",
    },
    "createmp4": {
        "source_folder": "/out/demo1", "output_folder": "/out/demo1", "retries": "0", "mp4_filename": "demo1.mp4",
        "mezzanine": "true", **_LOCAL,
    },
    "build_thumbnails": {
        "source": "https://example.com/vod/demo1.m3u8", "output_folder": "/out/demo1", "target_file_name": "demo1",
        "seconds_between": "10", "video_fps": "24", "destination_storage": "local",
    },
    "generate_gif": {
        "source": "https://example.com/vod/demo1.m3u8", "start_at": "2020-01-01T10:00:00.000Z", "duration": "5",
        "output_folder": "/out/demo1", "gif_filename": "my first.gif", "bitrate": "1300000", "fps": "12",
        "width": "-1", "height": "-1", "playback_loop": "0", "reverse": "false", "playback_speed": "1.5",
        "destination_storage": "local",
    },
    "capture_frame": {
        "source": "https://example.com/vod/demo1.m3u8", "frame_time": "2020-01-01T10:00:00.1234567Z",
        "output_folder": "/out/demo1", "image_filename": "frame.jpg", "destination_storage": "local",
    },
    "asset_delete": {"files": ["/out/demo1/thumbnail.jpg", "out/demo1/demo1.mp4"], "source_storage": "local"},
    "trickplay": {
        "source_folder": "/out/demo1", "output_folder": "/out/demo1", "retries": "0", **_LOCAL,
        "trickplay_thumbnails": "true", "trickplay_thumbnail_size": "0", "trickplay_thumbnail_interval": "10",
        "trickplay_thumbnail_quality": "30",
    },
    "vodremix": {
        "output_folder": "/out/remix1",
        "clips": [
            {
                "source": "https://example.com/vod/demo1.m3u8", "start": "00:00:10.000", "end": "00:01:00.000",
                "frame_accurate": "true", "output_description": "true",
                "markers": {
                    "timescale": "1000", "frame_accurate": "true",
                    "meta_events": [{"presentation_time": "00:00:20.000", "duration": "00:00:30.000", "type": "replace"}],
                },
            },
            {"sources": ["https://example.com/vod/a.mp4", "https://example.com/vod/b.mp4"]},
        ],
        "output_file": "remix.mp4", "live_compose": "false", "stream_start_time": "2040-01-01T10:00:00.000",
        "dvr_window_length": "60", "custom_active_manifest_name": "remix", "empty_target": "true",
        "destination_storage": "local", "remote_execute_timeout_seconds": "0",
        "transcode_proxy": "https://example.com/proxy", **_DRM,
    },
    "vodnpvr": {
        "output_folder": "/out/npvr1",
        "clips": [{"capture_id": "channel1", "start": "2020-01-01T10:00:00.000Z", "end": "2020-01-01T11:00:00.000Z"}],
        "apply_custom_drm": "false", "profile_id": "p1", "custom_manifest_name": "custom.ism", "empty_target": "true",
        **_LOCAL, "remote_execute_timeout_seconds": "0", "overwrite_segments": "false",
        "custom_package_options": "--timed_metadata --splice_media", "missing_content_limit": "5.0",
        "transcode_proxy": "https://example.com/proxy", **_DRM,
    },
    "mediatailor_channel_assembly": {
        "clips": [
            {
                "source": "https://example.com/vod/demo1.m3u8", "start": "00:00:00", "end": "00:10:00",
                "markers": {
                    "meta_events": [{"slate": "https://example.com/vod/slate.m3u8", "presentation_time": "00:01:00"}]
                },
            }
        ],
        "restart_channel": "true", "update_existing_vod_sources": "false", "dvr_window_length": "60",
    },
    "mediatailor_channel_state": {"state": "start", "delete": "false"},
}  # fmt: skip


def payload(workflow: str) -> dict[str, Any]:
    """The body of `POST /job`."""
    job = {"workflow": workflow, "priority": "3", "run_at": "2040-06-06T10:00:00.000"}
    return {"client": "original", "job": job, "parameters": {**_COMMON, **PARAMETERS[workflow]}}
