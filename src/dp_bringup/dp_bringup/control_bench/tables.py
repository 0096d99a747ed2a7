"""The tables of `dp bench control`, in Markdown, as they stand in docs/results.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dp_benchmark.tables import markdown_table

from dp_bringup.control_bench.jitter import METHODS

Row = dict[str, Any]


def jitter_table(rows: Sequence[Row]) -> str:
    """Period and jitter by condition and method, microseconds."""
    headers = (
        "loop", "beside it", "period p50", "p99", "p99.9", "jitter p50", "p99", "p99.9", "max", "skipped",
    )  # fmt: skip
    cells = []
    for row in _part(rows, "jitter"):
        figures = [
            f"{row[f'{what}_{rank}_us']:,.0f}" for what in ("period", "jitter") for rank in ("p50", "p99", "p99_9")
        ]
        skipped = f"{row['skipped']:,} of {row['periods']:,}"
        beside = "nothing" if row["condition"] == "idle" else "a policy"
        cells.append((METHODS[row["method"]], beside, *figures, f"{row['jitter_max_us']:,.0f}", skipped))
    return markdown_table(headers, cells)


def tracking_table(rows: Sequence[Row]) -> str:
    """Smoothness and error by what moves and method."""
    headers = (
        "motion", "method", "velocity step mm/s", "mrad/s", "RMS jerk m/s3", "rad/s3", "error RMS mm", "max mm",
        "best delay ms", "RMS then mm",
    )  # fmt: skip
    cells = []
    for row in _part(rows, "tracking"):
        cells.append(
            (
                row["motion"],
                row["method"],
                f"{1e3 * row['velocity_step_m_s']:.1f}",
                f"{1e3 * row['velocity_step_rad_s']:.0f}",
                f"{row['jerk_m_s3']:.1f}",
                f"{row['jerk_rad_s3']:.0f}",
                f"{1e3 * row['error_rms_m']:.2f}",
                f"{1e3 * row['error_max_m']:.2f}",
                str(round(1e3 * row["shift_s"])),
                f"{1e3 * row['shifted_rms_m']:.2f}",
            )
        )
    return markdown_table(headers, cells)


def ratio_table(rows: Sequence[Row]) -> str:
    """Linear + slerp over ours, by what moves."""
    headers = ("linear + slerp / follower", "peak velocity step", "RMS jerk", "error RMS")
    # Errors differ by per cents: one decimal would make a larger one look equal.
    keys = {"velocity_step_ratio": ".1f", "jerk_ratio": ".1f", "error_ratio": ".2f"}
    ratios = _part(rows, "tracking ratio")
    cells = [(row["motion"], *(format(row[key], form) for key, form in keys.items())) for row in ratios]
    return markdown_table(headers, cells)


def timing_table(rows: Sequence[Row]) -> str:
    """Processor time of one cycle."""
    cells = [(row["what"], f"{row['p50_us']:.0f}", f"{row['p99_us']:.0f}") for row in _part(rows, "timing")]
    return markdown_table(("one cycle", "p50 us", "p99 us"), cells)


def kinematics_table(rows: Sequence[Row]) -> str:
    """Inverse kinematics beside the reference."""
    headers = (
        "path", "inverse kinematics", "p50 us", "p99 us", "largest residual mm", "joint acceleration rad/s2",
        "abrupt reversals", "no solution",
    )  # fmt: skip
    cells = [
        (
            row["path"],
            row["method"],
            f"{1e6 * row['p50_s']:.0f}",
            f"{1e6 * row['p99_s']:.0f}",
            f"{1e3 * row['residual_m']:.2f}",
            f"{row['acceleration_rad_s2']:.1f}",
            str(row["reversals"]),
            str(row["failures"]),
        )
        for row in _part(rows, "kinematics")
    ]
    return markdown_table(headers, cells)


def fault_table(rows: Sequence[Row]) -> str:
    """Fault episodes: how many, what broke, how near the limits."""
    cells = []
    for row in _part(rows, "faults"):
        cells += [("episodes", f"{row['episodes']:,}"), ("control cycles", f"{row['cycles']:,}")]
        cells += [("faults", f"{sum(row['faults'].values()):,} of {len(row['faults'])} kinds")]
        cells += [("limit violations", f"{row['limit_violations']:,}")]
        cells += [(f"largest {name}, share of its limit", f"{share:.4f}") for name, share in row["worst"].items()]
        cells += [("deepest outside the allowed region", f"{row['depth']:.1e}")]
    return markdown_table(("fault episodes", "figure"), cells)


TABLES = (
    ("jitter", jitter_table),
    ("tracking", tracking_table),
    ("tracking ratio", ratio_table),
    ("timing", timing_table),
    ("kinematics", kinematics_table),
    ("faults", fault_table),
)


def all_tables(rows: Sequence[Row]) -> str:
    """Every table for which there are rows."""
    return "\n".join(table(rows) for part, table in TABLES if _part(rows, part))


def _part(rows: Sequence[Row], part: str) -> list[Row]:
    return [row for row in rows if row["part"] == part]
