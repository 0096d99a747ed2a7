"""The tables and the picture of `dp bench soak`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dp_benchmark.plots import load_pyplot, save
from dp_benchmark.tables import markdown_table

from dp_bringup.ledger import ledger_rows
from dp_bringup.soak.process_samples import ProcessSample
from dp_bringup.soak.verdict import Judgement

Row = dict[str, Any]


def soak_tables(judgements: Sequence[Judgement], rows: Sequence[Row], figures: Row) -> str:
    """Verdict, processes and further figures, in Markdown."""
    limits = [(j.what, j.measured, j.limit, "kept" if j.kept else "BROKEN") for j in judgements]
    parts = [
        markdown_table(("limit", "measured", "stated", ""), limits),
        _process_table([row for row in rows if row["part"] == "process"]),
        markdown_table(("figure", "value"), _figure_cells(figures)),
    ]
    return "\n".join(parts)


def _process_table(rows: Sequence[Row]) -> str:
    headers = (
        "process", "MiB half-way", "end", "growth", "MiB/h", "anonymous", "PSS", "threads", "open files", "cores",
    )  # fmt: skip
    cells = [
        (
            row["process"],
            f"{row['first_mib']:.1f}",
            f"{row['last_mib']:.1f}",
            f"{row['growth_mib']:+.2f}",
            f"{row['growth_mib_per_h']:+.1f}",
            f"{row['anonymous_mib']:.1f}",
            "-" if row["pss_mib"] is None else f"{row['pss_mib']:.1f}",
            "{} -> {}".format(*row["threads"]),
            "{} -> {}".format(*row["files"]),
            f"{row['cpu_cores']:.2f}",
        )
        for row in rows
    ]
    return markdown_table(headers, cells)


def _figure_cells(figures: Row) -> list[tuple[str, str]]:
    holds = ", ".join(f"{count} {reason}" for reason, count in figures["holds"].items()) or "none"
    inference = figures["inference_ms_max"]
    return [
        ("operated", f"{figures['minutes']:.1f} min, {figures['policy_minutes']:.1f} of them in mode POLICY"),
        ("episodes", f"{figures['episodes']}, success {figures['success']:.0%}"),
        ("chunks", f"{figures['chunks']}, {figures['after_committed_actions']} after the committed actions"),
        *ledger_rows(figures["ledger"]),
        ("slowest estimate of inference", "-" if inference is None else f"{inference:.0f} ms"),
        ("holds", holds),
        (
            "control loop",
            f"{figures['control_skipped']} cycles skipped at {figures['control_overruns']} overruns, of "
            f"{figures['control_cycles']}; {figures['control_restarts_from_rest']:.0f} restarts from rest",
        ),
        ("messages lost", f"{figures['messages_lost']} of {figures['messages_published']} published"),
    ]


def plot_memory(samples: Sequence[ProcessSample], path: Path) -> None:
    """Resident memory of each process over time, and how it differs from what it was half-way.

    Args:
        samples: in order.
        path: of the PNG.
    """
    pyplot = load_pyplot()
    figure, (whole, change) = pyplot.subplots(2, 1, figsize=(10.0, 8.0), sharex=True, layout="constrained")
    by_process: dict[str, list[ProcessSample]] = {}
    for sample in samples:
        by_process.setdefault(f"{sample.process} {sample.pid}", []).append(sample)
    half_s = 0.5 * max((sample.t_s for sample in samples), default=0.0)
    for own in by_process.values():
        minutes = np.array([sample.t_s for sample in own]) / 60.0
        memory = np.array([sample.rss_mib for sample in own])
        whole.plot(minutes, memory, lw=1.2, label=own[0].process)
        change.plot(minutes, memory - memory[np.searchsorted(60.0 * minutes, half_s).clip(0, len(own) - 1)], lw=1.2)
    whole.set(ylabel="resident memory, MiB", ylim=(0.0, None))
    if by_process:
        whole.legend(fontsize=8, ncols=3)
    change.axvspan(half_s / 60.0, 2.0 * half_s / 60.0, color="black", alpha=0.05)
    change.set(xlabel="minutes", ylabel="less that half-way, MiB", ylim=(-30.0, 10.0))
    for axes in (whole, change):
        axes.grid(alpha=0.3)
    save(figure, path)
