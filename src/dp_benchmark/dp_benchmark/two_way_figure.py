"""The picture of the two-way task: demonstrations and every method's rollouts from above."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from numpy.typing import NDArray

from dp_benchmark.two_way_task import GOAL_Y, OUTCOMES, PILLAR_RADIUS, START_Y, Rollouts

#: Distinct for colour-blind readers too (Okabe & Ito).
COLOURS = {"left": "#0072b2", "right": "#e69f00", "collision": "#d55e00", "unfinished": "#000000"}
STYLES: dict[str, Any] = {"left": "-", "right": "-", "collision": "-", "unfinished": ":"}
GREY = "#b5b5b5"
TITLES = {
    "diffusion": "Diffusion",
    "flow": "Flow matching",
    "two_step": "Two-step",
    "regression": "MSE regression",
    "lstm_gmm": "LSTM-GMM",
    "ibc": "IBC",
    "bet": "BET",
}
COLUMNS = 4


def draw_two_way(file: Path, demonstrations: NDArray[np.float64], rollouts: Mapping[str, Rollouts]) -> None:
    """Write a PNG with one panel for the demonstrations (E, S, 2) and one for each method's rollouts."""
    panels = 1 + len(rollouts)
    columns = min(COLUMNS, panels)
    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(2.5 * columns + 0.4, 3.5 * rows + 0.7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = np.atleast_1d(figure.subplots(rows, columns, sharex=True, sharey=True)).ravel()
    _draw_scene(grid[0], demonstrations[:60], GREY, 0.7)
    _set_title(grid[0], "Demonstrations", f"{len(demonstrations)}, half on each side")
    for axes, (method, moved) in zip(grid[1:], rollouts.items(), strict=False):
        _draw_scene(axes, demonstrations[:60], GREY, 0.25)
        _draw_rollouts(axes, moved)
        _set_title(axes, TITLES.get(method, method), _counts(moved))
    for axes in grid[panels:]:
        axes.set_axis_off()
    for index, axes in enumerate(grid[:panels]):
        if index % columns == 0:
            axes.set_ylabel("y (m)")
        if index + columns >= panels:
            axes.set_xlabel("x (m)")
            axes.tick_params(labelbottom=True)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=7, frameon=False, fontsize=9)
    figure.savefig(file)


def _draw_scene(axes: Axes, paths: NDArray[np.float64], colour: str, alpha: float) -> None:
    axes.plot(paths[..., 0].T, paths[..., 1].T, color=colour, linewidth=0.7, alpha=alpha, zorder=1)
    axes.add_patch(Circle((0, 0), PILLAR_RADIUS, facecolor="#4d4d4d", edgecolor="none", zorder=2))
    axes.plot(0, START_Y, marker="s", color="black", markersize=5, zorder=5)
    axes.plot(0, GOAL_Y, marker="*", color="black", markersize=9, zorder=5)
    axes.set(xlim=(-0.24, 0.24), ylim=(-0.36, 0.36), aspect="equal")
    axes.grid(alpha=0.2)


def _draw_rollouts(axes: Axes, moved: Rollouts) -> None:
    for path, outcome in zip(moved.paths, moved.outcomes, strict=True):
        line: dict[str, Any] = {"color": COLOURS[outcome], "linestyle": STYLES[outcome]}
        axes.plot(path[:, 0], path[:, 1], linewidth=0.8, alpha=0.6, zorder=3, **line)
        if outcome == "collision":
            axes.plot(*path[-1], marker="x", color=COLOURS[outcome], markersize=4, zorder=4)


def _set_title(axes: Axes, name: str, figures: str) -> None:
    axes.set_title(name, fontsize=11, pad=20)
    axes.text(0.5, 1.02, figures, transform=axes.transAxes, ha="center", va="bottom", fontsize=8.5)


def _counts(moved: Rollouts) -> str:
    words = dict(zip(OUTCOMES, ("left", "right", "hit the pillar", "not arrived"), strict=True))
    return ", ".join(f"{moved.outcomes.count(key)} {words[key]}" for key in OUTCOMES if key in moved.outcomes)


def _legend() -> list[Line2D]:
    lines = [
        Line2D([], [], color=COLOURS[outcome], linestyle=STYLES[outcome], label=label)
        for outcome, label in zip(
            OUTCOMES, ("passes left", "passes right", "hits the pillar", "not arrived"), strict=True
        )
    ]
    dots: dict[str, Any] = {"linestyle": "none", "color": "black"}
    return [
        *lines,
        Line2D([], [], color=GREY, label="demonstration"),
        Line2D([], [], marker="s", markersize=5, label="start", **dots),
        Line2D([], [], marker="*", markersize=9, label="goal", **dots),
    ]
