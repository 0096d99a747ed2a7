"""The pictures of a report, each as bytes of a file: loss curve, trajectories from above, video of rollouts."""

from __future__ import annotations

import io
import json
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from dp_core.contract import Contract
from numpy.typing import NDArray

from dp_bringup.episodes import EpisodeResult
from dp_bringup.rollouts import Rollout, read_frames

matplotlib.use("Agg")
from matplotlib import pyplot as plt

TILE_PX = 240
MAX_ROLLOUTS = 6
GREEN, RED = "#2a9d5c", "#c8352b"
FREE_OBJECTS = ("cube", "goal", "target")
RADII_M = {"obstacle": 0.025, "pillar": 0.03, "goal": 0.035, "target": 0.035, "cube": 0.02}


def loss_figure(losses_file: Path) -> bytes:
    """PNG of the training loss against the step, raw and smoothed."""
    steps, losses = [], []
    if losses_file.is_file():
        for line in losses_file.read_text().splitlines():
            row = json.loads(line)
            steps.append(row["step"])
            losses.append(row["loss"])
    figure, axes = plt.subplots(figsize=(7, 3.2))
    if losses:
        axes.plot(steps, losses, color="#9bb8d3", linewidth=0.6, label="each step")
        width = max(1, len(losses) // 50)
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        axes.plot(steps[width - 1 :], smooth, color="#1d4e89", linewidth=1.5, label=f"mean of {width} steps")
        axes.legend()
    axes.set(xlabel="optimiser step", ylabel="loss", yscale="log")
    return _png(figure)


def trajectory_figure(rollouts: Sequence[Rollout], results: Sequence[EpisodeResult], title: str) -> bytes:
    """PNG of tool paths from above: x (away from the robot) points up, y (left) points left."""
    figure, axes = plt.subplots(figsize=(5.2, 5.2))
    for rollout, result in zip(rollouts, results, strict=True):
        colour = GREEN if result.success else RED
        axes.plot(rollout.path[:, 1], rollout.path[:, 0], color=colour, linewidth=1.0, alpha=0.7)
        for name, position in rollout.objects.items():
            fixed = name not in FREE_OBJECTS
            circle = plt.Circle(
                (position[1], position[0]),
                RADII_M.get(name, 0.02),
                color="#d9a30d" if fixed else "#555555",
                alpha=0.5 if fixed else 0.15,
                linewidth=0,
            )
            axes.add_patch(circle)
    if rollouts:
        for name, position in rollouts[0].objects.items():
            axes.annotate(name, (position[1], position[0]), fontsize=8, ha="center")
    axes.set(xlabel="y (m), left of the robot to the left", ylabel="x (m)", title=title)
    axes.set_aspect("equal", adjustable="datalim")
    axes.invert_xaxis()
    axes.grid(alpha=0.25)
    return _png(figure)


def choose_rollouts(results: Sequence[EpisodeResult]) -> list[EpisodeResult]:
    """A few episodes worth seeing: failures first (at most half), then both sides in turn."""
    recorded = [result for result in results if result.path]
    failures = [result for result in recorded if not result.success][: MAX_ROLLOUTS // 2]
    left = [result for result in recorded if result.success and result.side == "left"]
    others = [result for result in recorded if result.success and result.side != "left"]
    turns = [result for pair in _zip_longest(left, others) for result in pair]
    return [*failures, *turns][:MAX_ROLLOUTS]


def rollout_video(results: Sequence[EpisodeResult], contract: Contract) -> bytes:
    """MP4 (H.264) of episodes side by side, all cameras of each; empty when there is nothing to show."""
    tiles = [(_label(result), _episode_frames(Path(result.path), contract)) for result in results]
    tiles = [(label, frames) for label, frames in tiles if frames]
    if not tiles:
        return b""
    columns = min(3, len(tiles))
    rate_hz = max(camera.rate_hz for camera in contract.cameras.values())
    count = max(len(frames) for _, frames in tiles)
    pictures = (_compose(tiles, index, columns) for index in range(count))
    return _encode(list(pictures), rate_hz)


def _label(result: EpisodeResult) -> str:
    return f"seed {result.seed} {'ok ' + result.side if result.success else 'failed'}"


def _episode_frames(folder: Path, contract: Contract) -> list[NDArray[np.uint8]]:
    """Frames of an episode with its cameras side by side, scaled to the tile."""
    cameras = [list(read_frames(folder, contract.cameras[name].topic)) for name in contract.observation.cameras]
    if not cameras or not all(cameras):
        return []
    size = (TILE_PX, TILE_PX)
    return [
        np.hstack([cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC) for picture in pictures])
        for pictures in zip(*cameras, strict=False)
    ]


def _compose(tiles: Sequence[tuple[str, list[NDArray[np.uint8]]]], index: int, columns: int) -> NDArray[np.uint8]:
    """One picture of the video; an episode that is over keeps its last frame."""
    cells = []
    for label, frames in tiles:
        cell = frames[min(index, len(frames) - 1)].copy()
        cv2.putText(cell, label, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 2, cv2.LINE_AA)
        cv2.putText(cell, label, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
        cells.append(cell)
    rows = math.ceil(len(cells) / columns)
    cells += [np.zeros_like(cells[0])] * (rows * columns - len(cells))
    return np.vstack([np.hstack(cells[row * columns : (row + 1) * columns]) for row in range(rows)])


def _encode(pictures: Sequence[NDArray[np.uint8]], rate_hz: float) -> bytes:
    import imageio_ffmpeg

    height, width = pictures[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rollouts.mp4"
        settings = {"codec": "libx264", "quality": 6, "macro_block_size": 2, "ffmpeg_log_level": "error"}
        writer = imageio_ffmpeg.write_frames(str(path), (width, height), fps=rate_hz, **settings)
        writer.send(None)
        for picture in pictures:
            writer.send(np.ascontiguousarray(picture))
        writer.close()
        return path.read_bytes()


def _png(figure: plt.Figure) -> bytes:
    buffer = io.BytesIO()
    figure.tight_layout()
    figure.savefig(buffer, format="png", dpi=110)
    plt.close(figure)
    return buffer.getvalue()


def _zip_longest(a: Sequence[EpisodeResult], b: Sequence[EpisodeResult]) -> list[list[EpisodeResult]]:
    return [[*a[i : i + 1], *b[i : i + 1]] for i in range(max(len(a), len(b)))]
