"""The tables of `dp bench policy`, in Markdown; docs/results.md has their figures, the two ways side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dp_benchmark.tables import markdown_table

Row = dict[str, Any]
NOTES = (
    "ms per chunk of one observation, p50 / p99; encode: images to features (as published all frames of the window, "
    "by the engine the newest of each camera, the features of older ones being kept), overhead: everything else "
    "around the network; cpu: processor time of all threads, p50. Speed-up: median over the rounds of the ratio of "
    "the medians within a round, the two ways having taken turns; against DDIM 16: against 16 evaluations as published."
)


def time_table(rows: Sequence[Row]) -> str:
    """Milliseconds per chunk of each case, both ways."""
    headers = (
        "network", "sampler", "threads", "runtime", "encode ms", "denoise ms", "overhead ms", "total ms", "cpu ms",
        "speed-up", "by cpu time", "against DDIM 16", "max difference",
    )  # fmt: skip
    cells = []
    for row in rows:
        parts = [
            f"{row[f'{part}_ms_p50']:.1f} / {row[f'{part}_ms_p99']:.1f}"
            for part in ("encode", "denoise", "overhead", "total")
        ]
        case = (row["network"], row["sampler"], str(row["threads"]), row["runtime"])
        ratios = [_number(row.get(key), "{:.1f}") for key in ("speedup", "speedup_cpu", "speedup_over_ddim16")]
        difference = _number(row.get("max_abs_difference"), "{:.1e}")
        cells.append((*case, *parts, f"{row['cpu_ms_p50']:.1f}", *ratios, difference))
    return markdown_table(headers, cells)


def memory_table(rows: Sequence[Row]) -> str:
    """Memory of a process that has held one policy, that of the case, MiB."""
    headers = ("network", "sampler", "threads", "runtime", "resident MiB", "at most", "before the policy")
    cells = [
        (
            *(row["network"], row["sampler"], str(row["threads"]), row["runtime"]),
            *(f"{row[key]:,.0f}" for key in ("resident_mib", "peak_mib", "imports_mib")),
        )
        for row in rows
    ]
    return markdown_table(headers, cells)


def choices(rows: Sequence[Row]) -> str:
    """What the engine chose in each case, and why."""
    lines = [
        f"- {row['network']}, {row['sampler']}, {row['threads']} threads: {row['chosen']}"
        for row in rows
        if "speedup" in row
    ]
    return "\n".join(["Chosen runtimes:", *lines, ""])


def all_tables(rows: Sequence[Row]) -> str:
    """Times, memory, choices."""
    return "\n".join((time_table(rows), NOTES, "", memory_table(rows), choices(rows)))


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
