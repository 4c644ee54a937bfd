"""Sources made on the spot, a real TaskContext, and a run of a workflow's steps one after the other."""

from __future__ import annotations

import asyncio
import base64
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from taskengine.domain.errors import InvalidRequest, TaskFailed
from taskengine.domain.messages import TaskMessage
from taskengine.domain.workflow import Step, Workflow
from taskengine.handlers import load_handlers
from taskengine.keys import KeyProviders, ProviderConfig
from taskengine.media import dash, hls
from taskengine.media.probe import AudioTrack, Probe, VideoTrack
from taskengine.media.sources import Source
from taskengine.media.timing import Timing
from taskengine.media.tools import find_tools
from taskengine.net import Fetcher, GuardedClients
from taskengine.ports import KeyProvider, Outbound, ProcessResult, Storage, TaskLog, Tools, Workspace
from taskengine.process import SubprocessRunner
from taskengine.sandbox import find_sandbox
from taskengine.storage.local import LocalStorage
from taskengine.storage.workspace import JobWorkspace
from taskengine.workflows.catalog import Catalog
from taskengine.workflows.expressions import CelEvaluator

# ------------------------------------------------------------------------------------------------------ the sources


def ffmpeg(folder: Path, *arguments: str) -> None:
    """Run ffmpeg in a folder, for making sources."""
    argv = [find_tools().ffmpeg, "-nostdin", "-y", "-hide_banner", "-loglevel", "error", *arguments]
    subprocess.run(argv, cwd=folder, check=True, capture_output=True, timeout=60)


def picture(size: str = "320x240", rate: str = "25", seconds: float = 2) -> list[str]:
    """An input of moving picture."""
    return ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}"]


def sound(seconds: float = 2, frequency: int = 440, channels: int = 1) -> list[str]:
    """An input of sound."""
    tone = "|".join(f"0.2*sin({frequency + 50 * channel}*2*PI*t)" for channel in range(channels))
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
    return ["-f", "lavfi", "-i", f"aevalsrc={tone}:c={layout}:s=48000:d={seconds}"]


H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac", "-b:a", "96k")


def video_source(path: Path, *, size: str = "320x240", rate: str = "25", seconds: float = 2) -> None:
    """A plain video with stereo sound, in the container that the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_made(path.suffix, size, rate, seconds))


@cache
def _made(suffix: str, size: str, rate: str, seconds: float) -> bytes:
    inputs = [*picture(size, rate, seconds), *sound(seconds, channels=2)]
    with TemporaryDirectory() as folder:
        ffmpeg(Path(folder), *inputs, *H264, *AAC, f"made{suffix}")
        return (Path(folder) / f"made{suffix}").read_bytes()


# ------------------------------------------------------------------------------------------------------- the context


def check_inputs(argv: Sequence[str]) -> None:
    """Whatever a program opens is named within its scratch, and ffmpeg is told what it may be."""
    words = list(argv[1:])
    assert not [word for word in words if word.startswith("/")], words
    name = Path(argv[0]).name
    if not name.startswith(("ffmpeg", "ffprobe")) or {"-version", "-encoders", "-filters"} & set(words):
        return
    ends = (
        [place for place, word in enumerate(words) if word == "-i"] if name.startswith("ffmpeg") else [len(words) - 1]
    )
    assert ends, words
    for begin, end in zip([0, *ends], ends, strict=False):
        limits = " ".join(words[begin : end + 2])
        assert "protocol_whitelist" in limits, words
        assert "format_whitelist" in limits, words


@dataclass
class RecordedLog:
    """What the job's owner would read."""

    lines: list[tuple[str, str]] = field(default_factory=list)

    def debug(self, message: str) -> None:
        """Keep it."""
        self.lines.append(("debug", message))

    def info(self, message: str) -> None:
        """Keep it."""
        self.lines.append(("info", message))

    def warning(self, message: str) -> None:
        """Keep it."""
        self.lines.append(("warning", message))

    def error(self, message: str) -> None:
        """Keep it."""
        self.lines.append(("error", message))

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(message for _, message in self.lines)


@dataclass
class MediaContext:
    """A TaskContext over real folders and real subprocesses."""

    task: TaskMessage
    inputs: Mapping[str, Any]
    scratch: Path
    workspace: Workspace
    roots: Mapping[str, Path]
    log: TaskLog
    tools: Tools = field(default_factory=find_tools)
    deadline: int = 0
    progress: list[float] = field(default_factory=list)
    runs: list[ProcessResult] = field(default_factory=list)
    runner: SubprocessRunner = field(default_factory=lambda: SubprocessRunner(sandbox=find_sandbox()))  # as a worker's
    keys: KeyProviders = field(default_factory=lambda: KeyProviders({}, "tests"))
    outbound: Outbound = field(default_factory=lambda: Fetcher(GuardedClients()))  # not open: nobody goes out with it
    profile_folders: Sequence[Path] = ()

    def key_provider(self, name: str) -> KeyProvider:
        """One of the test's."""
        return self.keys.open(name)

    def storage(self, name: str, root: str = "output_root") -> Storage:
        """One of the roots."""
        return LocalStorage(self.roots[root])

    async def run(
        self,
        argv: Sequence[str],
        *,
        on_line: Callable[[str], bool | None] | None = None,
        stall_s: float | None = None,
        children: bool = False,
    ) -> ProcessResult:
        """Run in scratch and keep how it ended."""
        check_inputs(argv)
        result = await self.runner.run(argv, cwd=self.scratch, on_line=on_line, stall_s=stall_s, children=children)
        self.runs.append(result)
        return result

    def report_progress(
        self, fraction: float, *, message: str = "", speed: float | None = None, eta_s: float | None = None
    ) -> None:
        """Keep the fraction."""
        self.progress.append(fraction)


def message(
    handler: str, inputs: Mapping[str, Any], *, job_id: int = 7, task_id: int = 1, attempt: int = 1
) -> TaskMessage:
    """A task as a worker gets it."""
    return TaskMessage(
        job_id=job_id, task_id=task_id, attempt=attempt, token=uuid.uuid4().hex, queue="work", handler=handler,
        client="acme", workflow="vodstream", task_name=handler, priority=5, inputs=inputs, workspace=f"{job_id}",
        storages={}, outbound_allow=(), timeout_s=600, heartbeat_s=5,
    )  # fmt: skip


SEED_KEYS = ProviderConfig(
    "seed",
    seed=base64.b64encode(bytes(range(40))).decode(),
    uris={"fairplay": "skd://{key_id}", "aes": "https://keys.example.com/{content_id}/{key_id}"},
)
"""A provider for tests: keys of a seed that all know."""


@dataclass
class Studio:
    """Source and output roots in a folder, and runs of `vodstream` over them."""

    folder: Path
    log: RecordedLog = field(default_factory=RecordedLog)
    contexts: list[MediaContext] = field(default_factory=list)
    jobs: int = 0
    shared: bool = False  # whether both roots are one
    manifest_style: str = "plain"  # of the client
    track_properties: Mapping[str, Any] | None = None  # of the client
    profile_folders: Sequence[Path] = ()
    key_provider: str | None = "seed"  # of the client
    providers: dict[str, ProviderConfig] = field(default_factory=lambda: {"seed": SEED_KEYS})
    outbound: Outbound | None = None
    workspace: Storage | None = None  # that of the jobs; on the disk of the scratch where there is none

    @property
    def roots(self) -> Mapping[str, Path]:
        """The roots of the one storage."""
        output = "source" if self.shared else "output"
        return {"source_root": self.folder / "source", "output_root": self.folder / output}

    @property
    def source(self) -> Path:
        """The folder whose files are the sources."""
        path = self.folder / "source" / "film"
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def output(self) -> Path:
        """The folder of the asset."""
        return self.roots["output_root"] / "film"

    def context(
        self, handler: str, inputs: Mapping[str, Any], *, job_id: int, task_id: int, attempt: int = 1
    ) -> MediaContext:
        """A context with a new scratch."""
        scratch = self.folder / "scratch" / uuid.uuid4().hex
        scratch.mkdir(parents=True)
        task = message(handler, inputs, job_id=job_id, task_id=task_id, attempt=attempt)
        workspace = JobWorkspace(
            self.workspace or LocalStorage(self.folder / "workspace", link_shared=True), scratch, job_id=job_id,
            task_id=task_id, attempt=attempt, token=task.token,
        )  # fmt: skip
        context = MediaContext(task, inputs, scratch, workspace, self.roots, self.log)
        context.profile_folders = self.profile_folders
        context.keys = KeyProviders(self.providers, "tests")
        context.outbound = self.outbound or context.outbound
        self.contexts.append(context)
        return context

    async def stream(self, **parameters: Any) -> dict[str, Any]:
        """Run `vodstream` over the source folder."""
        return await self.run("vodstream", **{"source_folder": "film", **parameters})

    async def run(self, workflow: str, **parameters: Any) -> dict[str, Any]:
        """Run a workflow; its job callback's fields. Raises what the failing task raised, after the clean-up."""
        self.jobs += 1
        catalog = await asyncio.to_thread(_built_in)
        loaded = catalog.get(workflow, "acme")
        assert loaded is not None, catalog.faults
        given = {"content_id": "film", **parameters}
        checked = loaded.parameters.check(given, strict=True)
        if checked.faults:
            raise InvalidRequest(str(checked.faults), checked.faults)
        return await _Run(self, loaded.workflow, checked.arguments, self.jobs).all()

    @property
    def process_s(self) -> float:
        """Seconds of all subprocesses."""
        return sum(run.seconds for context in self.contexts for run in context.runs)

    def asset(self) -> Asset:
        """The published asset."""
        return Asset(self.output)


@cache
def _built_in() -> Catalog:
    """The workflows that come along."""
    return Catalog(CelEvaluator(), load_handlers())


@dataclass
class _Run:
    """The steps of a workflow, one after the other, as the engine would resolve them."""

    studio: Studio
    workflow: Workflow
    arguments: Mapping[str, Any]
    job_id: int
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def all(self) -> dict[str, Any]:
        try:
            for step in self.workflow.steps.values():
                await self._step(step)
        except TaskFailed:
            for step in self.workflow.on_failure.values():
                await self._step(step)
            raise
        resolved = CelEvaluator().evaluate(self.workflow.job_callback, self._scope())
        assert isinstance(resolved, dict)
        return resolved

    def _scope(self) -> dict[str, Any]:
        job = {"id": self.job_id, "client": "acme", "workflow": "vodstream", "priority": 5, "created_at": 0}
        client = {
            "default_storage": "local", "manifest_style": self.studio.manifest_style,
            "track_properties": self.studio.track_properties, "key_provider": self.studio.key_provider,
        }  # fmt: skip
        return {"parameters": self.arguments, "steps": self.steps, "job": job, "client": client}

    async def _step(self, step: Step) -> None:
        evaluator = CelEvaluator()
        if step.condition is not None and evaluator.evaluate(step.condition, self._scope()) is False:
            self.steps[step.name] = {"outputs": {}, "state": "skipped"}
            return
        if step.foreach is None:
            outputs: Any = await self._task(step, self._scope())
        else:
            items = evaluator.evaluate(step.foreach, self._scope())
            assert isinstance(items, list)
            outputs = [
                await self._task(step, {**self._scope(), "item": item, "index": index})
                for index, item in enumerate(items)
            ]
        self.steps[step.name] = {"outputs": outputs, "state": "completed"}

    async def _task(self, step: Step, scope: Mapping[str, Any]) -> dict[str, Any]:
        inputs = CelEvaluator().evaluate(dict(step.inputs), scope)
        context = self.studio.context(step.handler, inputs, job_id=self.job_id, task_id=len(self.studio.contexts) + 1)
        return dict(await load_handlers()[step.handler](context))


# --------------------------------------------------------------------------------------------------------- the asset


@dataclass
class Asset:
    """A published asset, read as a player would."""

    folder: Path

    def playlist(self, uri: str) -> hls.MediaPlaylist:
        """A media playlist below the folder."""
        return hls.read_media((self.folder / uri).read_text())

    def master(self, content_id: str = "film") -> hls.MasterPlaylist:
        """The active master."""
        return hls.read_master((self.folder / f"{content_id}.m3u8").read_text())

    def manifest(self, content_id: str = "film") -> Sequence[dash.Representation]:
        """The active MPD's representations, with URIs as the manifest has them."""
        return dash.read((self.folder / f"{content_id}.mpd").read_text())

    def frames(self, playlist: str) -> int:
        """The frames that really decode from a variant's segments."""
        return len(self.frame_times(playlist))

    def frame_times(self, playlist: str) -> list[float]:
        """The times of all frames that decode, joined from init and segments."""
        return [float(line) for line in _lines(self.joined(playlist), "v:0", "frame=pts_time")]

    def stream(self, playlist: str) -> dict[str, str]:
        """What ffprobe says of a rendition's one stream."""
        entries = "stream=codec_name,width,height,sample_aspect_ratio,pix_fmt,field_order,channels,r_frame_rate,profile"
        argv = [
            find_tools().ffprobe,
            "-v",
            "error",
            "-show_entries",
            entries,
            "-of",
            "default=nw=1",
            self.joined(playlist),
        ]
        output = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def look(self, playlist: str) -> dict[str, str]:
        """What ffprobe says of a rendition's colours."""
        entries = "stream=codec_name,pix_fmt,color_transfer,color_primaries,color_space"
        argv = [find_tools().ffprobe, "-v", "error", "-show_entries", entries, "-of", "default=nw=1"]
        output = _output([*argv, self.joined(playlist)])
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def first_frame(self, playlist: str) -> str:
        """What comes along with the first frame of a rendition: light levels and the like."""
        argv = [find_tools().ffmpeg, "-nostdin", "-hide_banner", "-i", self.joined(playlist), "-vf", "showinfo"]
        argv += ["-frames:v", "1", "-f", "null", "-"]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stderr

    def digest(self, playlist: str) -> str:
        """Of a rendition's packets as they are, whatever they are wrapped in."""
        return self.digest_of(Path(self.joined(playlist)))

    def digest_of(self, path: Path) -> str:
        """Of a file's video packets as they are."""
        plain = [
            "-map",
            "0:v",
            "-c",
            "copy",
            "-bsf:v",
            "h264_mp4toannexb,filter_units=remove_types=7-9",
            "-f",
            "md5",
            "-",
        ]
        return _output([find_tools().ffmpeg, "-nostdin", "-v", "error", "-i", str(path), *plain])

    def level(self, playlist: str, frequency: int) -> float:
        """How loud a rendition is near a frequency, in dB."""
        near = f"bandpass=f={frequency}:width_type=h:w=40,volumedetect"
        argv = [
            find_tools().ffmpeg,
            "-nostdin",
            "-hide_banner",
            "-i",
            self.joined(playlist),
            "-af",
            near,
            "-f",
            "null",
            "-",
        ]
        said = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stderr
        return float(said.split("mean_volume: ")[1].split()[0])

    def sheets(self) -> int:
        """How many sheets of previews there are."""
        return len(list(self.folder.glob("*_sprite*.jpg")))

    def decoded(self, playlist: str) -> str:
        """What ffmpeg complains of when it decodes a whole rendition."""
        argv = [find_tools().ffmpeg, "-nostdin", "-v", "error", "-i", self.joined(playlist), "-f", "null", "-"]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stderr

    def sound_begins(self, playlist: str) -> float:
        """When the first silence of a rendition ends."""
        detect = ["-af", "silencedetect=n=-40dB:d=0.05", "-f", "null", "-"]
        argv = [find_tools().ffmpeg, "-nostdin", "-hide_banner", "-i", self.joined(playlist), *detect]
        said = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stderr
        return float(said.split("silence_end: ")[1].split()[0])

    def joined(self, playlist: str) -> str:
        """A rendition as one file: its init segment and all others."""
        base = (self.folder / playlist).parent
        media = self.playlist(playlist)
        target = self.folder.parent.parent / f"joined-{uuid.uuid4().hex}.mp4"
        parts = [str(media.init), *(uri for uri, _ in media.segments)]
        target.write_bytes(b"".join((base / part).read_bytes() for part in parts))
        return str(target)


def _output(argv: Sequence[str]) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def _lines(path: str, stream: str, entries: str) -> list[str]:
    argv = [
        find_tools().ffprobe,
        "-v",
        "error",
        "-select_streams",
        stream,
        "-show_entries",
        entries,
        "-of",
        "csv=p=0",
        path,
    ]
    output = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
    return [line.split(",")[0] for line in output.splitlines() if line.strip(",")]


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of an image."""
    argv = [find_tools().ffprobe, "-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0", str(path)]
    width, height = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip().split(",")
    return int(width), int(height)


def wall() -> float:
    """Seconds, for measuring."""
    return time.monotonic()


# ------------------------------------------------------------------------------------------ values for the pure parts


def video_track(**changes: Any) -> VideoTrack:
    """A 1080p track of 10 s at 25 frames per second."""
    timing = Timing(250, 250, 0.0, 9.96, Fraction(25), constant=True, key_frames=(0.0, 2.0, 4.0, 6.0, 8.0))
    values: dict[str, Any] = {
        "index": 0, "codec": "h264", "width": 1920, "height": 1080, "sample_aspect": Fraction(1), "rotation": 0,
        "pixel_format": "yuv420p", "bit_depth": 8, "interlaced": False, "transfer": None, "nominal_rate": Fraction(25),
        "average_rate": Fraction(25), "declared_frames": 250, "declared_duration": 10.0, "bitrate": 5_000_000,
        "language": None, "timing": timing, "color_range": "tv",
    }  # fmt: skip
    return VideoTrack(**(values | changes))


def audio_track(**changes: Any) -> AudioTrack:
    """A stereo track of 10 s."""
    values: dict[str, Any] = {
        "index": 1, "codec": "aac", "channels": 2, "layout": "stereo", "sample_rate": 48_000, "start": 0.0,
        "duration": 10.0, "bitrate": 128_000, "language": None, "title": None,
    }  # fmt: skip
    return AudioTrack(**(values | changes))


def source_of(
    video: VideoTrack | None, *audio: AudioTrack, name: str = "film.mp4", plain: str = "source_1.mp4", **changes: Any
) -> Source:
    """A source with these tracks."""
    found = Probe("mov,mp4,m4a,3gp,3g2,mj2", 0.0, 10.0, None, (video,) if video else (), audio, brand="isom")
    return Source(name, plain, 1000, {"$file": f"ws://7/1/1-t/{plain}"}, found, **changes)
