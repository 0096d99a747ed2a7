"""The picture of a comparison: success against added latency for each task, seams and jerk over all tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dp_benchmark.plots import load_pyplot, save

from dp_bringup.latency_benchmark.conditions import METHODS

COLOURS = {
    "none": "#b5403a",
    "wait": "#7a6a3a",
    "splice": "#d98c2b",
    "weighted": "#a06cb5",
    "ensemble": "#8a8a8a",
    "guided": "#7fa8d1",
    "ours": "#1d4e89",
}
_PANELS = (
    ("seam_m_p95", 1e3, "seam jump p95, mm"),
    ("measured_jerk_m_s3", 1.0, "RMS jerk of the measured tool, m/s³"),
)
Rows = Sequence[Mapping[str, Any]]


def plot_latency(rows: Rows, path: Path, title: str) -> None:
    """A line for each method; hollow markers are the conditions with jitter.

    Args:
        rows: of :func:`dp_bringup.latency_benchmark.tables.latency_rows`.
        path: of the PNG.
        title: over the picture.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    columns = max(len(tasks), len(_PANELS))
    pyplot = load_pyplot()
    figure, grid = pyplot.subplots(2, columns, figsize=(5.6 * columns, 8.4), layout="constrained", squeeze=False)
    for place, method in enumerate(methods):
        own = [row for row in rows if row["method"] == method]
        shift = 5.0 * (place - (len(methods) - 1) / 2.0)  # apart, so that intervals can be told from each other
        for axes, task in zip(grid[0], tasks, strict=False):
            _plot_success(axes, [row for row in own if row["task"] == task], method, shift)
        for axes, (key, scale, _) in zip(grid[1], _PANELS, strict=False):
            _plot_mean(axes, own, method, key, scale)
    for axes, task in zip(grid[0], tasks, strict=False):
        axes.set(title=f"task {task}", ylabel="success", ylim=(-0.03, 1.03), xlabel="added latency, ms")
    for axes, (_, _, label) in zip(grid[1], _PANELS, strict=False):
        axes.set(ylabel=label, ylim=(0.0, None), xlabel="added latency, ms")
    for axes in grid.flat:
        axes.grid(alpha=0.25)
        axes.set_visible(bool(axes.get_xlabel()))
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    save(figure, path)


def _plot_success(axes: Any, rows: Rows, method: str, shift: float) -> None:
    for jittered in (False, True):
        own = [row for row in rows if bool(row["jitter_ms"]) == jittered]
        if not own:
            continue
        success = np.array([row["success"] for row in own])
        low, high = np.array([row["success_interval"] for row in own]).T
        axes.errorbar(
            [row["added_ms"] + shift + (25.0 if jittered else 0.0) for row in own],
            success,
            np.maximum([success - low, high - success], 0.0),
            color=COLOURS[method],
            linestyle="none" if jittered else "-",
            marker="o",
            markerfacecolor="white" if jittered else COLOURS[method],
            capsize=2,
            elinewidth=0.8,
            label=None if jittered else METHODS[method],
        )


def _plot_mean(axes: Any, rows: Rows, method: str, key: str, scale: float) -> None:
    """Mean over the tasks."""
    for jittered in (False, True):
        own = [row for row in rows if bool(row["jitter_ms"]) == jittered]
        added = sorted({row["added_ms"] for row in own})
        values = [scale * float(np.mean([row[key] for row in own if row["added_ms"] == ms])) for ms in added]
        axes.plot(
            [ms + (12.0 if jittered else 0.0) for ms in added],
            values,
            color=COLOURS[method],
            linestyle="none" if jittered else "-",
            marker="o",
            markerfacecolor="white" if jittered else COLOURS[method],
        )
