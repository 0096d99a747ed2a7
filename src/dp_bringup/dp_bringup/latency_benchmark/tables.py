"""Rows, summary and Markdown table of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dp_benchmark.tables import markdown_table, success_text
from dp_core.statistics import wilson_interval

from dp_bringup.latency_benchmark.conditions import METHODS, Condition, Outcome

Row = dict[str, Any]
Outcomes = Mapping[Condition, Mapping[int, Outcome]]

# Added latency at which the summary counts points lost.
SUMMARY_MS = 400


def latency_rows(outcomes: Outcomes) -> list[Row]:
    """One row for each condition with episodes; points are lost against the same method's without added latency."""
    return [_row(condition, list(played.values()), outcomes) for condition, played in outcomes.items() if played]


def _row(condition: Condition, played: Sequence[Outcome], outcomes: Outcomes) -> Row:
    base = list(outcomes.get(Condition(condition.task, condition.method, 0), {}).values())
    seams_m = [seam for outcome in played for seam in outcome.seams_m]
    seams_rad = [seam for outcome in played for seam in outcome.seams_rad]
    ages_s = [age for outcome in played for age in outcome.chunk_ages_s]
    lost, interval = points_lost(base, played)
    return {
        "task": condition.task,
        "method": condition.method,
        "added_ms": condition.added_ms,
        "jitter_ms": condition.jitter_ms,
        "episodes": len(played),
        "successes": sum(outcome.success for outcome in played),
        "success": _share(played),
        "success_interval": wilson_interval(sum(outcome.success for outcome in played), len(played)),
        "points_lost": lost,
        "points_lost_interval": interval,
        "seam_m_p50": _quantile(seams_m, 0.5),
        "seam_m_p95": _quantile(seams_m, 0.95),
        "seam_rad_p50": _quantile(seams_rad, 0.5),
        "seam_rad_p95": _quantile(seams_rad, 0.95),
        "commanded_jerk_m_s3": math.sqrt(float(np.mean([outcome.commanded_jerk for outcome in played]))),
        "measured_jerk_m_s3": math.sqrt(float(np.mean([outcome.measured_jerk for outcome in played]))),
        "chunks_per_episode": float(np.mean([outcome.chunks for outcome in played])),
        "late_per_chunk": sum(outcome.late for outcome in played) / max(sum(o.chunks for o in played), 1),
        "hold_s_per_episode": float(np.mean([outcome.hold_s for outcome in played])),
        "duration_s": float(np.mean([outcome.duration_s for outcome in played])),
        "age_s_p50": _quantile(ages_s, 0.5),
        "age_s_p99": _quantile(ages_s, 0.99),
    }


def _quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share)) if values else 0.0


def _share(played: Sequence[Outcome]) -> float:
    return sum(outcome.success for outcome in played) / len(played)


def points_lost(base: Sequence[Outcome], played: Sequence[Outcome]) -> tuple[float | None, tuple[float, float] | None]:
    """Percentage points of success below the base, and Newcombe's 95 % interval of them; None without a base."""
    if not base or not played:
        return None, None
    (p, (low, high)), (q, (q_low, q_high)) = (
        (_share(part), wilson_interval(sum(outcome.success for outcome in part), len(part))) for part in (base, played)
    )
    least = p - q - math.hypot(p - low, q_high - q)
    most = p - q + math.hypot(high - p, q - q_low)
    return 100.0 * (p - q), (100.0 * least, 100.0 * most)


def latency_summary(outcomes: Outcomes) -> Row:
    """Points lost at 400 ms for each method, over all tasks and for each."""
    tasks = list(dict.fromkeys(condition.task for condition in outcomes))
    methods = list(dict.fromkeys(condition.method for condition in outcomes))

    def lost(chosen: Sequence[str]) -> dict[str, float]:
        found = {}
        for method in methods:
            base, played = (_pooled(outcomes, chosen, method, added) for added in (0, SUMMARY_MS))
            points = points_lost(base, played)[0]
            if points is not None:
                found[method] = round(points, 2)
        return found

    return {
        f"points_lost_at_{SUMMARY_MS}ms": lost(tasks),
        f"points_lost_at_{SUMMARY_MS}ms_per_task": {task: lost([task]) for task in tasks},
    }


def _pooled(outcomes: Outcomes, tasks: Sequence[str], method: str, added_ms: int) -> list[Outcome]:
    return [o for task in tasks for o in outcomes.get(Condition(task, method, added_ms), {}).values()]


def latency_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown table."""
    headers = (
        "task, method",
        "added latency",
        "success (95 % interval)",
        "points lost",
        "seam p50 / p95, mm",
        "seam p50 / p95, mrad",
        "RMS jerk commanded / measured, m/s³",
        "late per chunk",
        "hold, s",
        "duration, s",
    )
    return markdown_table(headers, [_cells(row) for row in rows])


def latency_overview(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line for each task and method, in Markdown: success at each latency, the rest at the least and the most."""
    latencies = sorted({(row["added_ms"], row["jitter_ms"]) for row in rows})
    ends = [latency for latency in latencies if not latency[1]] or latencies
    ends = [ends[0], ends[-1]] if len(ends) > 1 else ends
    headers = (
        "task, method",
        f"success at {', '.join(map(_latency_text, latencies))} ms added, %",
        *(
            f"{quantity}, {' to '.join(map(_latency_text, ends))} ms"
            for quantity in ("seam p50 / p95, mm", "RMS jerk commanded / measured, m/s³")
        ),
    )
    found = {(row["task"], row["method"], row["added_ms"], row["jitter_ms"]): row for row in rows}
    lines = []
    for task, method in dict.fromkeys((row["task"], row["method"]) for row in rows):
        own = {latency: found.get((task, method, *latency)) for latency in latencies}
        at_ends = [row for row in map(own.get, ends) if row is not None]
        lines.append(
            (
                f"{task}, {METHODS[method]}",
                ", ".join("-" if row is None else f"{100 * row['success']:.0f}" for row in own.values()),
                " to ".join(f"{1e3 * row['seam_m_p50']:.1f} / {1e3 * row['seam_m_p95']:.1f}" for row in at_ends),
                " to ".join(f"{row['commanded_jerk_m_s3']:.0f} / {row['measured_jerk_m_s3']:.0f}" for row in at_ends),
            )
        )
    return markdown_table(headers, lines)


def _latency_text(latency: tuple[int, int]) -> str:
    return f"{latency[0]} ± {latency[1]}" if latency[1] else str(latency[0])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    jitter = f" ± {row['jitter_ms']}" if row["jitter_ms"] else ""
    return (
        f"{row['task']}, {METHODS[row['method']]}",
        f"{row['added_ms']}{jitter} ms",
        success_text(row),
        "" if row["points_lost"] is None else f"{row['points_lost']:.0f}",
        f"{1e3 * row['seam_m_p50']:.1f} / {1e3 * row['seam_m_p95']:.1f}",
        f"{1e3 * row['seam_rad_p50']:.0f} / {1e3 * row['seam_rad_p95']:.0f}",
        f"{row['commanded_jerk_m_s3']:.0f} / {row['measured_jerk_m_s3']:.0f}",
        f"{row['late_per_chunk']:.1f}",
        f"{row['hold_s_per_episode']:.2f}",
        f"{row['duration_s']:.1f}",
    )
