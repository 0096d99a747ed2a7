"""Records the bench's messages in each mode, by the recorder and by the naive one, and reads everything back."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_core.contract import Contract
from dp_recorder.memory_reuse import keep_freed_memory

from dp_bringup.errors import CommandError
from dp_bringup.graph import NodeSpec
from dp_bringup.processes import ProcessGroup
from dp_bringup.recorder_bench.bench_cell import CAMERA_HZ, HEIGHT, STATE_HZ, WIDTH, bench_contract, write_contract
from dp_bringup.recorder_bench.line_process import LineProcess
from dp_bringup.recorder_bench.process_meter import ProcessMeter
from dp_bringup.recorder_bench.read_back import ReadBack, jpeg_checksums, published_sizes, read_back
from dp_bringup.session import CellSession
from dp_msgs.srv import StopEpisode

Row = dict[str, Any]
OURS, NAIVE = "dp_recorder", "naive rclpy"
_MODULE = "dp_bringup.recorder_bench"
#: From the first message until every subscription has met its publisher, and until what was under way is there, s.
_DISCOVERY_S, _SETTLE_S = 2.0, 1.5
_MIB = 2**20


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        modes: Of ``bench_cell.MODES``.
        seconds: Of recording, by mode.
        naive_seconds: Of the naive recorder's recording, s; 0 leaves it out.
        cameras: How many.
        keep: Keep the recorded files.
    """

    modes: tuple[str, ...]
    seconds: dict[str, float]
    naive_seconds: float
    cameras: int
    keep: bool

    @property
    def largest_bytes(self) -> float:
        """Most that lies on the disk at once, by what is published; a mode's files go before the next one comes."""
        per_s = self.cameras * CAMERA_HZ * WIDTH * HEIGHT * 3 + sum(STATE_HZ.values()) * 500
        longest = [max(self.seconds[mode], self.naive_seconds) for mode in self.modes if mode != "jpeg"]
        return per_s * (sum(longest) if self.keep else max(longest, default=0.0)) * 1.1 + 2 * 2**30


@dataclass(frozen=True)
class Progress:
    """Told what goes on: a stage has begun with so many steps, and so many steps were made."""

    begin: Callable[[str, int], None]
    step: Callable[[int], None]


def measure(settings: Settings, out: Path, progress: Progress) -> list[Row]:
    """One row for each mode and recorder.

    Args:
        settings: What.
        out: Receives recordings and logs.
        progress: Told.

    Raises:
        CommandError: Too little room, or a process failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(out).free
    if free < settings.largest_bytes:
        raise CommandError(
            f"{out} has {free / 2**30:.1f} GiB free, this bench needs {settings.largest_bytes / 2**30:.1f}; "
            "record for fewer --seconds, or elsewhere (--out)"
        )
    keep_freed_memory()  # for reading back
    rows = []
    with ProcessGroup(out) as group, CellSession(group, bench_contract(settings.cameras, "raw")) as session:
        for mode in settings.modes:
            bench = _ModeBench(settings, mode, out / mode, group, session, progress)
            rows.append(bench.ours())
            if settings.naive_seconds:
                rows.append(bench.naive())
    for row in rows:
        row["cpu_ms_per_mb"] = 1e3 * row["cpu_cores"] / row["mb_per_s"] if row["mb_per_s"] else None
    _add_ratios(rows)
    return rows


class _ModeBench:
    """One mode, by either recorder."""

    def __init__(
        self, settings: Settings, mode: str, folder: Path, group: ProcessGroup, session: CellSession, progress: Progress
    ) -> None:
        self._settings = settings
        self._mode = mode
        self._folder = folder
        self._group = group
        self._session = session
        self._progress = progress
        self._contract: Contract = bench_contract(settings.cameras, mode)
        self._path = write_contract(self._contract, folder)
        self._sizes = published_sizes(self._contract)
        self._compressed = jpeg_checksums(self._contract) if mode == "jpeg" else {}

    def ours(self) -> Row:
        """The recorder node, as `dp up` starts it, through its services."""
        seconds = self._settings.seconds[self._mode]
        directory = self._folder / "episodes"
        compression = "zstd" if self._mode == "zstd" else "none"
        parameters = {"cell": str(self._path), "directory": str(directory), "compression": compression}
        node = NodeSpec("dp_recorder", "recorder_node", "dp_recorder.node", "recorder", parameters)
        self._progress.begin(f"{self._mode}: {OURS}", round(seconds))
        with self._publishers() as publishers, self._data(directory):
            self._group.start_graph([node])
            try:
                meter = ProcessMeter(self._group.children[0].process.pid)
                loads = [ProcessMeter(publisher.pid) for publisher in publishers]
                self._session.wait_for_recorder()
                # It starts only when it hears every stream.
                folder = Path(self._session.start_recording("bench", "bench", "", patience_s=30.0))
                first = _counts(publishers, "mark")
                meter, loads = meter.again(), [load.again() for load in loads]
                self._record(seconds)
                wall_s, publishing_s = meter.wall_s(), sum(load.cpu_s() for load in loads)
                end = _counts(publishers, "stop")
                self._session.wait_for(self._after(_SETTLE_S), 60.0, "the last messages")
                self._session.stop_recording(StopEpisode.Request.SUCCESS)
                cpu_s, peak_mib = meter.cpu_s(), meter.peak_mib()
            finally:
                self._group.stop()
            row = self._row(OURS, wall_s, cpu_s, publishing_s, peak_mib)
            episode = json.loads((folder / "episode.json").read_text(encoding="utf-8"))
            row |= _episode_figures(episode)
            return row | self._check(folder / f"{folder.name}_0.mcap", first, end, wall_s, self._compressed)

    def naive(self) -> Row:
        """The naive recorder, under the same messages."""
        seconds = min(self._settings.naive_seconds, self._settings.seconds[self._mode])
        directory = self._folder / "naive"
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "naive.mcap"
        self._progress.begin(f"{self._mode}: {NAIVE}", round(seconds))
        arguments = [str(self._path), self._mode, str(path)]
        with self._publishers() as publishers, self._data(directory):
            with self._process("naive_recorder", arguments) as recorder:
                recorder.ready()
                self._session.wait_for(lambda: recorder.ask("mark")["received"] > 0, 60.0, "the first message")
                self._session.wait_for(self._after(_DISCOVERY_S), 60.0, "all publishers to be found")
                first = _counts(publishers, "mark")
                meter = ProcessMeter(recorder.pid)
                loads = [ProcessMeter(publisher.pid) for publisher in publishers]
                self._record(seconds)
                wall_s, publishing_s = meter.wall_s(), sum(load.cpu_s() for load in loads)
                end = _counts(publishers, "stop")
                self._session.wait_for(self._after(_SETTLE_S), 60.0, "the last messages")
                recorder.ask("stop")
                cpu_s, peak_mib = meter.cpu_s(), meter.peak_mib()
            row = self._row(NAIVE, wall_s, cpu_s, publishing_s, peak_mib)
            return row | self._check(path, first, end, wall_s, None)

    def _record(self, seconds: float) -> None:
        begin = time.monotonic()
        for second in range(round(seconds)):
            left_s = begin + second + 1 - time.monotonic()
            self._session.wait_for(self._after(left_s), 60.0, "time to pass")
            self._progress.step(1)

    def _check(
        self,
        path: Path,
        first: dict[str, int],
        end: dict[str, int],
        wall_s: float,
        compressed: dict[str, tuple[int, ...]] | None,
    ) -> Row:
        """Read the file back."""
        size = path.stat().st_size
        self._progress.begin(f"{self._mode}: read back", sum(end.values()) - sum(first.values()))
        found = read_back(path, self._sizes, first, end, compressed, self._progress.step)
        return _figures(found, wall_s) | {"file_mib": size / _MIB, "disk_mb_per_s": size / wall_s / 1e6}

    def _row(self, recorder: str, wall_s: float, cpu_s: float, publishing_s: float, peak_mib: float) -> Row:
        return {
            "mode": self._mode,
            "recorder": recorder,
            "seconds": wall_s,
            "cpu_cores": cpu_s / wall_s,
            "publishers_cpu_cores": publishing_s / wall_s,
            "peak_mib": peak_mib,
        }

    def _process(self, name: str, arguments: list[str]) -> LineProcess:
        log = self._group.log_dir / f"{name}.log"
        return LineProcess(f"{_MODULE}.{name}", arguments, self._group.environment, log)

    @contextlib.contextmanager
    def _publishers(self) -> Iterator[list[LineProcess]]:
        with contextlib.ExitStack() as stack:
            started = [
                stack.enter_context(self._process("publisher", [str(self._path), what]))
                for what in ("cameras", "states")
            ]
            for publisher in started:
                publisher.ready()
            yield started

    @contextlib.contextmanager
    def _data(self, folder: Path) -> Iterator[None]:
        """Removes what was recorded, however the measurement ends."""
        try:
            yield
        finally:
            if not self._settings.keep:
                shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _after(seconds: float) -> Callable[[], bool]:
        deadline = time.monotonic() + seconds
        return lambda: time.monotonic() >= deadline


def _counts(publishers: list[LineProcess], command: str) -> dict[str, int]:
    counts: dict[str, int] = {}
    for publisher in publishers:
        counts |= publisher.ask(command)
    return counts


def _figures(found: ReadBack, wall_s: float) -> Row:
    recorded = sum(found.recorded.values())
    return {
        "messages_published": sum(found.expected.values()),
        "messages_recorded": recorded,
        "messages_lost": found.lost,
        "messages_damaged": found.damaged,
        "messages_repeated": found.repeated,
        "messages_per_s": found.in_time / wall_s,
        "mb_per_s": found.bytes_in_time / wall_s / 1e6,
    }


def _episode_figures(episode: Row) -> Row:
    queue = episode["queue"]
    return {
        "verdict": episode["verdict"],
        "reasons": episode["reasons"],
        "queue_high_messages": queue["high_water_messages"],
        "queue_high_mib": queue["high_water_bytes"] / _MIB,
        "lost_by_recorder": sum(stream["lost"] + stream["dropped"] for stream in episode["streams"].values()),
    }


def summarise(rows: list[Row]) -> Row:
    """What outside checks read: losses of the recorder, its cores in the costliest mode, the least ratio to naive."""
    ours = [row for row in rows if row["recorder"] == OURS]
    ratios = [row["ratio_to_naive"] for row in ours if row.get("ratio_to_naive") is not None]
    return {
        "messages_lost": sum(row["messages_lost"] + row["messages_repeated"] for row in ours),
        "cpu_cores": max((row["cpu_cores"] for row in ours), default=None),
        "ratio_to_naive": min(ratios, default=None),
    }


def _add_ratios(rows: list[Row]) -> None:
    """Processor time of the naive recorder for a megabyte that it recorded, against ours."""
    naive = {row["mode"]: row["cpu_ms_per_mb"] for row in rows if row["recorder"] == NAIVE}
    for row in rows:
        other = naive.get(row["mode"])
        if row["recorder"] == OURS and other and row["cpu_ms_per_mb"]:
            row["ratio_to_naive"] = other / row["cpu_ms_per_mb"]
