"""The pictures of `dp bench control`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dp_benchmark.plots import load_pyplot, save
from numpy.typing import NDArray

from dp_bringup.control_bench.jitter import METHODS as LOOPS
from dp_bringup.control_bench.tracking import COMMANDED, LINEAR, METHODS, OURS, REPLAY, STOPPING, TrackedMotion

Array = NDArray[np.float64]
COLOURS = {LINEAR: "#d98c2b", STOPPING: "#a06cb5", OURS: "#1d4e89", REPLAY: "#8a8a8a"}
LOOP_COLOURS = {"timer": "#d98c2b", "unprivileged": "#7fa8d1", "worker": "#1d4e89"}
_WINDOW_S = 3.0
_BARS = (
    ("velocity_step_m_s", 1e3, "peak velocity step, mm/s"),
    ("jerk_m_s3", 1.0, "RMS jerk, m/s³"),
    ("shifted_rms_m", 1e3, "RMS error at the best delay, mm"),
)


def plot_tracking(tracked: Sequence[TrackedMotion], rows: Sequence[dict[str, Any]], path: Path) -> None:
    """One axis of one motion over a few seconds, commanded, beside the figures of all motions.

    Args:
        tracked: of :func:`dp_bringup.control_bench.tracking.track`.
        rows: of :func:`dp_bringup.control_bench.tracking.tracking_rows`.
        path: of the PNG.
    """
    pyplot = load_pyplot()
    figure = pyplot.figure(figsize=(13.0, 8.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.55, 1.0))
    _plot_axis(left, tracked[0])
    own = [row for row in rows if row["part"] == "tracking"]
    for axes, (key, scale, label) in zip(right.subplots(3, 1), _BARS, strict=True):
        _plot_bars(axes, own, key, scale, label)
    save(figure, path)


def _plot_axis(figure: Any, one: TrackedMotion) -> None:
    """Position, velocity and jerk of the axis that moves most, in the busiest window."""
    times = one.executions[0].times_s
    reference = one.motion.at(times)[:, :3]
    axis, window = _busiest(reference, times)
    shown = [run for run in one.executions if run.method in (LINEAR, OURS)]
    position, velocity, jerk = figure.subplots(3, 1, sharex=True)
    position.plot(times[window], 1e3 * reference[window, axis], color="black", lw=3.2, alpha=0.25, label="recorded")
    period_s = float(times[1] - times[0])
    for run in shown:
        values = run.motions[COMMANDED][:, axis]
        rates = [np.diff(values, n=order) / period_s**order for order in (1, 3)]
        colour = COLOURS[run.method]
        position.plot(times[window], 1e3 * values[window], color=colour, lw=1.2, label=run.method)
        velocity.plot(times[window], 1e3 * rates[0][window], color=colour, lw=1.2)
        jerk.plot(times[window], rates[1][window], color=colour, lw=0.9)
    name = "xyz"[axis]
    position.set_ylabel(f"{name}, mm")
    velocity.set_ylabel(f"velocity of {name}, mm/s")
    jerk.set_ylabel(f"jerk of {name}, m/s³")
    jerk.set_yscale("symlog", linthresh=10.0)
    jerk.set_xlabel("time, s")
    position.legend(loc="best", frameon=False)
    for axes in (position, velocity, jerk):
        axes.grid(alpha=0.25)
        axes.margins(x=0.0)
    figure.suptitle("Commanded motion at 250 Hz from waypoints at 10 Hz, in overlapping chunks that arrive late")


def _busiest(reference: Array, times: Array) -> tuple[int, slice]:
    """The axis and the window of time in which it moves most."""
    length = min(round(_WINDOW_S / (times[1] - times[0])), len(times) - 4)
    change = np.abs(np.diff(reference, axis=0))
    travel = np.cumsum(np.concatenate([np.zeros((1, 3)), change]), axis=0)
    travelled = travel[length:-3] - travel[: -length - 3]
    start, axis = np.unravel_index(int(np.argmax(travelled)), travelled.shape)
    return int(axis), slice(int(start), int(start) + length)


def _plot_bars(axes: Any, rows: Sequence[dict[str, Any]], key: str, scale: float, label: str) -> None:
    kinds = list(dict.fromkeys(row["motion"] for row in rows))
    width = 0.8 / len(METHODS)
    for place, method in enumerate(METHODS):
        values = [scale * next(r[key] for r in rows if r["motion"] == k and r["method"] == method) for k in kinds]
        # The recording follows itself: no error, which a logarithmic axis cannot show.
        values = [value if value > 1e-6 else np.nan for value in values]
        places = np.arange(len(kinds)) + (place - (len(METHODS) - 1) / 2) * width
        bars = axes.bar(places, values, 0.92 * width, color=COLOURS[method], label=method)
        axes.bar_label(bars, fmt=lambda value: "" if np.isnan(value) else f"{value:.3g}", fontsize=7, padding=1)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.set_ylim(low, 2.0 * high)
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set_title(label, fontsize=10, loc="left")
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    if key == _BARS[0][0]:
        axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper right")


def plot_jitter(folder: Path, rows: Sequence[dict[str, Any]], rate_hz: float, path: Path) -> None:
    """How often a period was off by more than so much, by condition and loop.

    Args:
        folder: with the raw times of the runs, `<condition>_<loop>_<number>.npy`.
        rows: of :func:`dp_bringup.control_bench.jitter.measure_jitter`.
        rate_hz: of the loops.
        path: of the PNG.
    """
    pyplot = load_pyplot()
    conditions = list(dict.fromkeys(row["condition"] for row in rows if row["part"] == "jitter"))
    figure, grid = pyplot.subplots(
        1, len(conditions), figsize=(5.6 * len(conditions), 4.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axes, condition in zip(grid[0], conditions, strict=True):
        for loop, colour in LOOP_COLOURS.items():
            files = sorted(folder.glob(f"{condition}_{loop}_*.npy"))
            if not files:
                continue
            jitter = np.sort(np.abs(np.concatenate([np.diff(np.load(f)) for f in files]) * 1e-3 - 1e6 / rate_hz))
            share = 1.0 - np.arange(len(jitter)) / len(jitter)
            axes.step(np.maximum(jitter, 0.5), share, color=colour, lw=1.6, label=LOOPS[loop])
        axes.axhline(0.01, color="black", lw=0.8, ls=":", alpha=0.6)
        axes.text(0.6, 0.0112, "p99", fontsize=8)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel("|period - nominal|, us")
        axes.set_title("nothing beside it" if condition == "idle" else "a policy infers beside it", fontsize=10)
        axes.grid(alpha=0.25, which="both")
    grid[0][0].set_ylabel("share of periods off by more")
    grid[0][0].legend(frameon=False, fontsize=8, loc="lower left")
    save(figure, path)
