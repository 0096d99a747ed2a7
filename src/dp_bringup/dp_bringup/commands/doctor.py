"""`dp doctor`: check this machine."""

from __future__ import annotations

import argparse

from dp_bringup.doctor import MISSING, OK, examine
from dp_bringup.results import add_json_argument, write_results

EXAMPLES = """examples:
  dp doctor
  dp doctor --json doctor.json
The exit status is 1 when something is missing without which the demo cannot run."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print one line per check; what is not ok also says what it costs and how to get it."""
    findings = examine()
    for finding in findings:
        print(f"{finding.state:8s} {finding.name:17s} {finding.found}")
        if finding.state != OK:
            print(f"{'':26s} costs: {finding.cost}")
            print(f"{'':26s} fix:   {finding.fix}")
    missing = [finding.name for finding in findings if finding.state == MISSING]
    print("ready" if not missing else f"missing: {', '.join(missing)}")
    counts = {state: sum(f.state == state for f in findings) for state in ("ok", "warn", "missing")}
    write_results(args.json, "doctor", [f.row() for f in findings], {"ready": not missing, **counts})
    return 1 if missing else 0
