"""The pictures of the benchmarks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dp_benchmark.errors import MissingPackageError

BLUE, ORANGE = "#1d4e89", "#d98c2b"


def load_pyplot() -> Any:
    """The drawing functions of matplotlib, for files: no display is needed.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingPackageError(
            f"figures need matplotlib ({error}); install it with: pip install matplotlib"
        ) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save(figure: Any, path: Path) -> None:
    """Write a figure as PNG and let go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, bbox_inches="tight")
    load_pyplot().close(figure)


def _error_bars(rows: Sequence[Mapping[str, Any]], key: str) -> list[list[float]]:
    """Lengths below and above the values; rounding must not make one negative, which matplotlib refuses."""
    below = [max(0.0, row[key] - row[f"{key}_interval"][0]) for row in rows]
    above = [max(0.0, row[f"{key}_interval"][1] - row[key]) for row in rows]
    return [below, above]


def plot_comparison(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Success and mean of the maximum coverage of each method, with 95 % intervals.

    Args:
        rows: of :func:`dp_benchmark.tables.comparison_rows`.
        path: of the PNG.
        title: over the picture.
    """
    figure, axes = load_pyplot().subplots(figsize=(7.5, 1.4 + 0.6 * len(rows)))
    places = range(len(rows))
    for offset, key, label, colour in (
        (-0.18, "success", "success (coverage >= 0.95)", BLUE),
        (0.18, "mean_max_coverage", "mean of maximum coverage", ORANGE),
    ):
        values = [row[key] for row in rows]
        below, above = _error_bars(rows, key)
        heights = [place + offset for place in places]
        axes.barh(heights, values, 0.34, xerr=[below, above], label=label, color=colour, ecolor="#555555", capsize=2)
    axes.set(xlim=(0, 1), xlabel="share", title=title, yticks=list(places), yticklabels=[row["name"] for row in rows])
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.25)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.6 / (0.9 + 0.6 * len(rows))), ncols=2, frameon=False)
    save(figure, path)


def plot_samplers(rows: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Success and time per chunk against network evaluations, a line for each sampler.

    Args:
        rows: of :func:`dp_benchmark.sampler_comparison.variant_rows`.
        path: of the PNG.
        title: over the picture.
    """
    figure, (quality, time) = load_pyplot().subplots(1, 2, figsize=(11, 4.2))
    several = len({row["policy"] for row in rows}) > 1
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        lines.setdefault(f"{row['policy']}: {row['sampler']}" if several else row["sampler"], []).append(row)
    for number, (label, own) in enumerate(lines.items()):
        counts = [row["evaluations_per_chunk"] * 1.02 ** (number - len(lines) / 2) for row in own]  # apart, readable
        values = [row["success"] for row in own]
        line = quality.errorbar(
            counts, values, _error_bars(own, "success"), marker="o", capsize=2, elinewidth=0.7, label=label
        )
        time.plot(counts, [row["chunk_ms_p50"] for row in own], marker="o", color=line[0].get_color(), label=label)
    quality.set(ylim=(0, 1), ylabel="success (coverage >= 0.95), 95 % interval")
    time.set(yscale="log", ylabel="ms per chunk, median, one thread")
    ticks = sorted({row["evaluations_per_chunk"] for row in rows})
    for axes in (quality, time):
        axes.set_xscale("log", base=2)
        axes.set(xlabel="network evaluations per chunk", xticks=ticks, xticklabels=[str(tick) for tick in ticks])
        axes.grid(alpha=0.25)
    time.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.suptitle(title)
    save(figure, path)
