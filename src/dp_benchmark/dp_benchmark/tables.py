"""Rows of figures as Markdown, and the rows of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dp_benchmark.comparison import MethodRun
from dp_benchmark.evaluation import score_figures
from dp_benchmark.lockstep import EpisodeResult


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns, the first one to the left, figures to the right."""
    widths = [max(len(row[i]) for row in [headers, *rows]) for i in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * (width - 1) + ":") if i else "-" * width for i, width in enumerate(widths)]
    return "\n".join([line(headers), line(rule), *(line(row) for row in rows)]) + "\n"


def comparison_rows(runs: Sequence[MethodRun]) -> list[dict[str, Any]]:
    """One row of figures for each method whose runs are all scored; several seeds are pooled and listed beside."""
    rows = []
    for name in dict.fromkeys(run.name for run in runs):
        own = [run for run in runs if run.name == name]
        if not all(run.scored for run in own):
            continue
        scores = [run.score() for run in own]
        trainings = [run.training() for run in own]
        episodes = [EpisodeResult(**row) for score in scores for row in score["rows"]]
        first = scores[0]["summary"]
        rows.append(
            {
                "name": name,
                "method": first["method"],
                "parameters": first["parameters"],
                "steps": _mean([training["steps"] for training in trainings]),
                "evaluations_per_chunk": first["evaluations_per_chunk"],
                **score_figures(episodes),
                "chunk_ms_p50": _mean([score["summary"]["chunk_ms_p50"] for score in scores]),
                "training_wall_s": _mean([training["wall_s"] for training in trainings]),
                "training_seeds": [run.seed for run in own],
                "success_per_seed": [score["summary"]["success"] for score in scores],
                "mean_max_coverage_per_seed": [score["summary"]["mean_max_coverage"] for score in scores],
            }
        )
    return rows


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def success_text(row: Mapping[str, Any]) -> str:
    """``62 % (52 to 71)``."""
    low, high = row["success_interval"]
    return f"{row['success']:.0%} ({100 * low:.0f} to {100 * high:.0f})"


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown table of :func:`comparison_rows`."""
    headers = (
        "method",
        "parameters",
        "training steps",
        "NFE",
        "success (95 % interval)",
        "mean max coverage",
        "score",
        "ms per chunk",
        "training",
    )
    cells = [
        (
            row["name"],
            _count_text(row["parameters"]),
            f"{row['steps']:,.0f}",
            str(row["evaluations_per_chunk"]),
            success_text(row),
            f"{row['mean_max_coverage']:.3f}",
            f"{row['score']:.3f}",
            f"{row['chunk_ms_p50']:.1f}",
            f"{row['training_wall_s'] / 60:.1f} min",
        )
        for row in rows
    ]
    return markdown_table(headers, cells)


def _count_text(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count / 1e3:.1f} k"
