"""`dp bench recorder`: cost and completeness of recording."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_bringup.errors import CommandError
from dp_bringup.results import add_json_argument, check_json_place, write_results

if TYPE_CHECKING:
    from dp_bringup.recorder_bench.measure import Progress, Settings

DESCRIPTION = """Record cameras of 640x480 at 30 Hz, joint states at 1 kHz and poses at 100 Hz over DDS with the
recorder node, and again with a naive rclpy recorder (subscribes normally, serialises and writes each message by
itself). Two processes publish messages of known content; afterwards every message in the file is checked once, by
counter and checksum.
Modes: raw; jpeg, where the recorder compresses the images (gradients, shapes and noise of 4 of 256 levels, about 50 kB
each at quality 90); zstd, where it compresses the chunks of the file. Needs 7 GB for a minute of four cameras, removed
again. Exit status 1 when the recorder lost a message. Keep the machine quiet meanwhile."""
_SECONDS = {"raw": 60.0, "jpeg": 300.0, "zstd": 60.0}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("--modes", default="raw,jpeg,zstd", help="of raw, jpeg, zstd (default: all)")
    parser.add_argument("--seconds", type=float, help="of recording in each mode (default: raw 60, jpeg 300, zstd 60)")
    parser.add_argument("--cameras", type=int, default=4, help="how many, 1 to 16 (default: 4)")
    parser.add_argument(
        "--naive-seconds", type=float, default=20.0, help="of the naive recorder in each mode; 0: none (default: 20)"
    )
    parser.add_argument("--out", type=Path, help="folder of table and recordings (default: a new one under runs/)")
    parser.add_argument("--keep", action="store_true", help="keep what was recorded")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Measure and print; 1 when the recorder lost anything."""
    settings = _settings(args)
    check_json_place(args.json)
    from dp_bringup.recorder_bench.measure import measure, summarise
    from dp_bringup.recorder_bench.tables import recorder_table
    from dp_bringup.run_folder import new_run_folder, only_worker

    out = args.out or new_run_folder(Path("runs"))
    out.mkdir(parents=True, exist_ok=True)
    print(f"recorder bench: {out}", flush=True)
    with only_worker(out), _Bars() as bars:
        rows = measure(settings, out, bars.progress)
    summary = summarise(rows)
    table = recorder_table(rows)
    (out / "table.md").write_text(table, encoding="utf-8")
    write_results(out / "results.json", "bench recorder", rows, summary)
    write_results(args.json, "bench recorder", rows, summary)
    print(f"\n{table}")
    for row in rows:
        if row.get("reasons"):
            print(f"{row['mode']}: verdict {row['verdict']}: {'; '.join(row['reasons'])}")
    for key, value in summary.items():
        print(f"{key}: {'not measured' if value is None else f'{value:.4g}'}")
    print(f"written to {out}: table.md and results.json")
    return 1 if summary["messages_lost"] else 0


class _Bars:
    """One bar after the other, one for each stage."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *reason: object) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def progress(self) -> Progress:
        """What the measurement tells."""
        from dp_bringup.recorder_bench.measure import Progress

        return Progress(self._begin, self._step)

    def _begin(self, what: str, steps: int) -> None:
        from dp_bringup.progress import bar

        if self._bar is not None:
            self._bar.close()
        self._bar = bar(steps, what, "message" if "read back" in what else "s")

    def _step(self, count: int) -> None:
        self._bar.update(count)


def _settings(args: argparse.Namespace) -> Settings:
    """What is measured, checked."""
    from dp_bringup.recorder_bench.bench_cell import MODES
    from dp_bringup.recorder_bench.measure import Settings

    modes = tuple(dict.fromkeys(part.strip() for part in args.modes.split(",") if part.strip()))
    if not modes or any(mode not in MODES for mode in modes):
        raise CommandError(f"--modes {args.modes!r} is not valid; valid: {', '.join(MODES)}")
    if args.seconds is not None and args.seconds < 1:
        raise CommandError(f"--seconds {args.seconds:g} is not valid; at least 1")
    if not 1 <= args.cameras <= 16:
        raise CommandError(f"--cameras {args.cameras} is not valid; 1 to 16")
    if args.naive_seconds < 0:
        raise CommandError(f"--naive-seconds {args.naive_seconds:g} is not valid; at least 0")
    seconds = {mode: _SECONDS[mode] if args.seconds is None else args.seconds for mode in modes}
    return Settings(modes, seconds, args.naive_seconds, args.cameras, args.keep)
