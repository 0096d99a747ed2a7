"""The pictures of `dp calibrate`: data, fit and estimate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dp_benchmark.plots import BLUE, ORANGE, load_pyplot, save

from dp_bringup.calibration.camera_latency import DisplayLatency, Sighting
from dp_bringup.calibration.camera_run import Picture
from dp_bringup.calibration.estimate import LatencyEstimate
from dp_bringup.calibration.gripper_latency import StepFit, WidthRecord
from dp_bringup.calibration.robot_latency import AXES, AxisWindow, PoseRecord, axis_means

AXIS_COLOURS = {"x": "#1d4e89", "y": "#d98c2b", "z": "#2a9d5c"}
GREY = "#9a9a9a"


def _headline(estimate: LatencyEstimate) -> str:
    key = ".".join((*estimate.place, "latency_s"))
    return f"{key}: {1e3 * estimate.latency_s:.1f} ± {1e3 * estimate.uncertainty_s:.1f} ms"


def _histogram(axes: Any, estimate: LatencyEstimate, label: str) -> None:
    mean, spread = 1e3 * estimate.latency_s, 1e3 * estimate.uncertainty_s
    low, high = 1e3 * estimate.samples_s.min(), 1e3 * estimate.samples_s.max()
    half = max(0.5 * (high - low), 0.5)  # a simulated latency may not scatter at all
    bins = np.linspace(
        0.5 * (low + high) - half, 0.5 * (low + high) + half, min(30, max(8, len(estimate.samples_s) // 4))
    )
    axes.hist(1e3 * estimate.samples_s, bins=bins, color=BLUE, alpha=0.75)
    axes.axvline(mean, color=ORANGE, linewidth=2.0, label="mean")
    axes.axvspan(mean - spread, mean + spread, color=ORANGE, alpha=0.25, label="standard uncertainty")
    axes.set(xlabel="latency, ms", ylabel=label)
    axes.legend(fontsize=8)


def plot_camera(
    estimate: LatencyEstimate,
    sightings: Sequence[Sighting],
    display: DisplayLatency,
    example: Picture | None,
    path: Path,
) -> None:
    """Latency of each picture with its bounds, their distribution, and one picture."""
    figure, (left, middle, right) = load_pyplot().subplots(
        1, 3, figsize=(13, 3.8), layout="constrained", width_ratios=(2.0, 1.2, 0.9)
    )
    times = np.array([s.stamp_s for s in sightings])
    values = 1e3 * (np.array([s.latency_s for s in sightings]) - display.latency_s)
    half = 500.0 * np.array([s.hidden_s - s.shown_s for s in sightings])
    left.errorbar(times - times[0], values, half, fmt=".", color=BLUE, ecolor="#c9d6e4", markersize=4, elinewidth=1.0)
    left.axhline(1e3 * estimate.latency_s, color=ORANGE, linewidth=1.5)
    left.set(xlabel="time, s", ylabel="latency, ms (bar: while the code was shown)", title=_headline(estimate))
    _histogram(middle, estimate, "pictures")
    if example is not None:
        right.imshow(example, cmap="gray" if example.ndim == 2 else None)
    right.set(title="a picture that was read")
    right.axis("off")
    save(figure, path)


def plot_robot(estimate: LatencyEstimate, record: PoseRecord, windows: Sequence[AxisWindow], path: Path) -> None:
    """The first span as commanded, as measured and as commanded one lag later; the lag of each span."""
    figure, axes = load_pyplot().subplots(2, 2, figsize=(13, 6.2), layout="constrained", width_ratios=(2.0, 1.0))
    shown = windows[0]
    commanded, measured = record.tracks(AXES.index(shown.axis))
    t_s = np.arange(shown.lag.start_s, shown.lag.start_s + shown.length_s, 0.005)
    wave, reply = commanded.at(t_s), measured.at(t_s)
    fit = commanded.at(t_s - shown.lag.lag_s)
    origin = fit.mean()
    axes[0, 0].plot(t_s, 1e3 * (wave - origin), color=GREY, label="commanded")
    axes[0, 0].plot(t_s, 1e3 * (reply - origin), color=BLUE, linewidth=2.2, label="measured")
    axes[0, 0].plot(
        t_s,
        1e3 * (fit - origin),
        color=ORANGE,
        linestyle="--",
        label=f"commanded, {1e3 * shown.lag.lag_s:.1f} ms later",
    )
    axes[0, 0].set(ylabel=f"{shown.axis}, mm", title=_headline(estimate))
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].plot(t_s, 1e3 * (reply - fit), color=BLUE)
    axes[1, 0].set(xlabel="time, s", ylabel="measured less the shifted command, mm")
    for axis in axis_means(tuple(windows)):
        own = [w for w in windows if w.axis == axis]
        lags = [1e3 * w.lag.lag_s for w in own]
        axes[0, 1].plot([w.lag.start_s for w in own], lags, "o", color=AXIS_COLOURS[axis], label=axis)
    axes[0, 1].axhline(1e3 * estimate.latency_s, color=ORANGE)
    axes[0, 1].set(xlabel="begin of the span, s", ylabel="lag, ms")
    axes[0, 1].legend(fontsize=8)
    _histogram(axes[1, 1], estimate, "spans")
    save(figure, path)


def plot_gripper(estimate: LatencyEstimate, record: WidthRecord, fits: Sequence[StepFit], path: Path) -> None:
    """All steps laid over each other at their command, with their lines; their latencies."""
    figure, (left, right) = load_pyplot().subplots(
        1, 2, figsize=(12, 4.2), layout="constrained", width_ratios=(2.0, 1.0)
    )
    for fit in fits:
        after = record.measured_s - fit.commanded_s
        near = (after > -0.1) & (after < 1.2)
        opens = fit.after_m > fit.before_m
        colour = GREY if fit.problem else (BLUE if opens else "#2a9d5c")
        left.plot(1e3 * after[near], 1e3 * record.measured_m[near], ".-", color=colour, markersize=3, linewidth=0.6)
        if not fit.problem:
            sign = 1.0 if opens else -1.0
            end_s = fit.latency_s + abs(fit.after_m - fit.before_m) / fit.speed_m_s
            ends = 1e3 * np.array([fit.before_m, fit.before_m + sign * fit.speed_m_s * (end_s - fit.latency_s)])
            left.plot([1e3 * fit.latency_s, 1e3 * end_s], ends, color=ORANGE, linestyle="--", linewidth=1.2)
    left.axvline(1e3 * estimate.latency_s, color=ORANGE, linewidth=1.5)
    left.set(xlabel="time after the command, ms", ylabel="width, mm (dashed: fitted ramp)", title=_headline(estimate))
    _histogram(right, estimate, "steps")
    save(figure, path)
