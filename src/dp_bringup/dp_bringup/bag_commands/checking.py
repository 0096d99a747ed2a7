"""`dp bag check`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dp_core.contract import load_contract
from dp_recorder.bag_tools.bag_folders import find_bags
from dp_recorder.bag_tools.checking import BagReport, check_bag

from dp_bringup.bag_commands.batch import for_each_bag, table
from dp_bringup.results import write_results

_HEADER = ("stream", "messages", "rate", "contract", "jitter p50/p99/max", "longest gap", "gaps", "lost", "order")
_CLOCK_HEADER = ("clock offset", "spread", "drift")


def check_bags(args: argparse.Namespace) -> int:
    """Check each bag and say which failed, of what, and when in the episode; returns 1 if one did."""
    contract = load_contract(args.cell) if args.cell else None

    def check(folder: Path, on_progress: Callable[[int], None]) -> BagReport:
        return check_bag(folder, contract, on_progress)

    reports, problems = for_each_bag(find_bags(args.bags), "check", check)
    for report in reports:
        failed = report.failed(args.strict)
        if args.brief and not failed:
            continue
        _print_report(report, failed, args.brief)
    failed_reports = [report for report in reports if report.failed(args.strict)]
    warned = sum(any(finding.level == "warning" for finding in report.findings) for report in reports)
    print(f"{len(reports) - len(failed_reports)} of {len(reports)} bags passed, {warned} with warnings")
    for report in failed_reports:
        kinds = sorted({finding.where for finding in report.findings if args.strict or finding.level == "failure"})
        print(f"  failed: {report.folder}: {', '.join(kinds)}")
    rows = [
        {
            "bag": str(report.folder),
            "passed": not report.failed(args.strict),
            "duration_s": report.duration_s,
            "messages": report.message_count,
            "findings": [dataclasses.asdict(finding) for finding in report.findings],
            "streams": report.rows,
        }
        for report in reports
    ]
    summary = {"bags": len(reports), "failed": len(failed_reports), "warned": warned, "unreadable": problems}
    write_results(args.json, "bag check", rows, summary)
    return 1 if failed_reports or problems else 0


def _print_report(report: BagReport, failed: bool, brief: bool) -> None:
    state = "FAILED" if failed else "passed"
    print(f"{report.folder}: {state}, {report.duration_s:.2f} s, {report.message_count} messages")
    if not brief:
        rows = [_cells(row) for row in report.rows if row["messages"] or row["required"]]
        right = (False, *(True,) * (len(_HEADER) + len(_CLOCK_HEADER) - 1))
        print("\n".join(f"  {line}" for line in table((*_HEADER, *_CLOCK_HEADER), rows, right)))
    for finding in report.findings:
        print(f"  {finding}")
    print()


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    expected = row["expected_rate_hz"]
    jitter = "-"
    if expected and row["messages"] > 1:
        jitter = "/".join(f"{1e3 * row[f'jitter_{name}_s']:.1f}" for name in ("p50", "p99", "max")) + " ms"
    if not row["messages"]:
        return (row["topic"], "0", "-", f"{expected:g} Hz" if expected else "-", *("-",) * 8)
    return (
        row["topic"],
        str(row["messages"]),
        f"{row['rate_hz']:.2f} Hz",
        f"{expected:g} Hz" if expected else "-",
        jitter,
        f"{1e3 * row['longest_gap_s']:.1f} ms",
        str(row["gaps"]) if expected else "-",
        "?" if row["published"] is None else str(row["lost"]),
        str(row["out_of_order"]) if row["out_of_order"] else "ok",
        f"{1e3 * row['offset_median_s']:.1f} ms",
        f"{1e3 * row['offset_spread_s']:.1f} ms",
        "-" if row["offset_drift"] is None else f"{1e6 * row['offset_drift']:.0f} ppm",
    )
