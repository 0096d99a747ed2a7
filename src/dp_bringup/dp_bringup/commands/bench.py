"""`dp bench`: times code. `dp bench control`: keeping time, smoothness and fault episodes of control."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dp_core.contract import config_directory

from dp_bringup.errors import CommandError
from dp_bringup.policy_bench import command as policy_bench
from dp_bringup.recorder_bench import command as recorder_bench
from dp_bringup.results import add_json_argument, write_results
from dp_bringup.soak import command as soak

PARTS = ("jitter", "tracking", "faults")
EXAMPLES = """examples:
  dp bench control --out runs/control
  dp bench control --parts jitter --seconds 60 --policy paper
  dp bench control --parts tracking --motions 20 --seed 100
  dp bench control --parts faults --episodes 10000 --workers 4
  dp bench control --json control.json
  dp bench policy --out runs/bench_policy
  dp bench policy --quick
  dp bench policy --threads 1 --rounds 20 --json policy.json
  dp bench policy --checkpoint runs/latest/checkpoint --runtime int8
  dp bench soak runs/latest/checkpoint --task place --minutes 30
  dp bench recorder
  dp bench recorder --modes raw --seconds 20 --naive-seconds 0
  dp bench recorder --modes jpeg --cameras 2 --json recorder.json"""
SUMMARY = ("jitter_p99_ratio", "jerk_ratio", "velocity_step_ratio", "limit_violations")
Row = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="control|policy|soak|recorder")
    control = actions.add_parser(
        "control",
        help="period of the loop, smoothness of the motion, fault episodes",
        description="Measure control. jitter: the period of our loop against a plain rclpy timer, interleaved, alone "
        "and with a policy beside it; keep the machine quiet meanwhile. tracking: recorded human-like motion as chunks "
        "of waypoints at 10 Hz, executed by our follower and by others; deterministic, with the processor time of a "
        "cycle, and our inverse kinematics beside pink's. faults: random fault episodes on the virtual clock.",
    )
    control.add_argument("--parts", default=",".join(PARTS), help=f"of {', '.join(PARTS)} (default: all)")
    control.add_argument("--seconds", type=float, default=12.0, help="jitter: of each run (default: 12)")
    control.add_argument("--rounds", type=int, default=2, help="jitter: runs of each loop and condition (default: 2)")
    control.add_argument(
        "--traffic", type=float, default=500.0, help="jitter: messages/s, pose and joints (default: 500)"
    )
    control.add_argument("--policy", default="small", help="jitter: network beside the loop, small or paper")
    control.add_argument("--motions", type=int, default=10, help="tracking: recorded motions (default: 10)")
    control.add_argument(
        "--task", default="reach_around", help="tracking: reach_around, free motion (default), or place"
    )
    control.add_argument("--episodes", type=int, default=1000, help="faults: episodes (default: 1000)")
    control.add_argument("--workers", type=int, default=2, help="faults: processes (default: 2)")
    control.add_argument("--seed", type=int, default=0, help="of the first motion and the first fault episode")
    control.add_argument("--out", type=Path, help="folder of tables, figures and logs (default: a new one under runs/)")
    add_json_argument(control)
    policy_bench.configure(
        actions.add_parser(
            "policy",
            help="ms and memory per chunk, as published and by the engine",
            description=policy_bench.DESCRIPTION,
        )
    )
    soak.configure(
        actions.add_parser(
            "soak",
            help="long operation of a policy: memory, deadlines, holds",
            description="Let a policy drive the simulated cell in real time, episode after episode, through the real "
            "nodes. Watches each process, each chunk and each hold, and says whether memory grows, deadlines are "
            "missed or the arm stands without reason. Keep the machine quiet meanwhile.",
        )
    )
    recorder_bench.configure(
        actions.add_parser(
            "recorder",
            help="cost of recording, and whether nothing is lost",
            description=recorder_bench.DESCRIPTION,
        )
    )


def run(args: argparse.Namespace) -> int:
    """Measure the chosen parts; 1 when a limit was violated."""
    if args.action != "control":
        return {"policy": policy_bench, "soak": soak, "recorder": recorder_bench}[args.action].run(args)
    from dp_bringup.run_folder import new_run_folder, only_worker

    parts = _check(args)
    out = args.out or new_run_folder(Path("runs"))
    out.mkdir(parents=True, exist_ok=True)
    print(f"control bench: {out}", flush=True)
    rows: list[Row] = []
    summary: dict[str, Any] = dict.fromkeys(SUMMARY)
    with only_worker(out):
        for part, measure in (("jitter", _run_jitter), ("tracking", _run_tracking), ("faults", _run_faults)):
            if part in parts:
                found, figures = measure(args, out)
                rows += found
                summary.update(figures)
        _write(rows, summary, out)
    write_results(args.json, "bench control", rows, summary)
    return 1 if summary["limit_violations"] else 0


def _check(args: argparse.Namespace) -> list[str]:
    """The parts chosen, after what can be refused beforehand has been."""
    parts = [part.strip() for part in args.parts.split(",") if part.strip()]
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise CommandError(f"--parts {args.parts!r} is not valid; valid: {', '.join(PARTS)}")
    for name, low in (("seconds", 1), ("rounds", 1), ("traffic", 1), ("motions", 1), ("episodes", 1), ("workers", 1)):
        if getattr(args, name) < low:
            raise CommandError(f"--{name} {getattr(args, name):g} is not valid; at least {low}")
    policies = sorted(path.stem for path in (config_directory() / "policies").glob("*.yaml"))
    if args.policy not in policies:
        raise CommandError(f"--policy {args.policy!r} is not valid; valid: {', '.join(policies)}")
    return parts


def _run_jitter(args: argparse.Namespace, out: Path) -> tuple[list[Row], Row]:
    from dp_bringup.control_bench.figures import plot_jitter
    from dp_bringup.control_bench.jitter import JitterSettings, jitter_ratios, measure_jitter
    from dp_bringup.progress import bar

    settings = JitterSettings(args.seconds, args.rounds, traffic_hz=args.traffic, policy=args.policy)
    with bar(settings.runs, "jitter", "run") as shown:

        def on_run(what: str, done: int) -> None:
            shown.set_postfix_str(what, refresh=False)
            shown.update(done - shown.n)

        rows = measure_jitter(settings, out / "jitter", on_run)
        shown.update(settings.runs - shown.n)
    ratios = jitter_ratios(rows)
    plot_jitter(out / "jitter", rows, settings.rate_hz, out / "control_jitter.png")
    rows += [{"part": "jitter ratio", "condition": name, "jitter_p99_ratio": value} for name, value in ratios.items()]
    return rows, {"jitter_p99_ratio": min(ratios.values(), default=None)}


def _run_tracking(args: argparse.Namespace, out: Path) -> tuple[list[Row], Row]:
    from dp_bringup.control_bench.figures import plot_tracking
    from dp_bringup.control_bench.kinematics_comparison import kinematics_rows
    from dp_bringup.control_bench.timings import timing_rows
    from dp_bringup.control_bench.tracking import COMMANDED, TrackingSettings, track, tracking_ratios, tracking_rows
    from dp_bringup.progress import bar

    settings = TrackingSettings(args.motions, args.seed, args.task)
    with bar(settings.episodes, "tracking", "motion") as shown:
        tracked = track(settings, lambda _seed: shown.update(1))
    rows = tracking_rows(tracked)
    plot_tracking(tracked, rows, out / "control_tracking.png")
    by_motion = {name: tracking_ratios(rows, name) for name in (COMMANDED, *settings.arms)}
    rows += [{"part": "tracking ratio", "motion": name, **ratios} for name, ratios in by_motion.items()]
    rows += timing_rows([one.motion for one in tracked[:3]], settings.rate_hz, settings.plan)
    rows += kinematics_rows()
    return rows, {key: by_motion[COMMANDED][key] for key in ("jerk_ratio", "velocity_step_ratio")}


def _run_faults(args: argparse.Namespace, out: Path) -> tuple[list[Row], Row]:
    from dp_bringup.fault_episodes import run_fault_episodes
    from dp_bringup.progress import bar

    with bar(args.episodes, "faults", "episode") as shown:

        def on_done(episodes: int, violations: int) -> None:
            shown.set_postfix_str(f"{violations} violations", refresh=False)
            shown.update(episodes - shown.n)

        found = run_fault_episodes(args.episodes, args.seed, args.workers, on_done)
    for violation in found.violations[:10]:
        print(f"violation: {violation}")
    row = {
        "part": "faults",
        "episodes": found.episodes,
        "cycles": found.steps,
        "limit_violations": len(found.violations),
        "violations": [str(violation) for violation in found.violations],
        "faults": found.faults,
        "worst": found.worst,
        "depth": found.depth,
        "modes": found.modes,
        "wall_s": found.seconds,
    }
    return [row], {"limit_violations": len(found.violations)}


def _write(rows: list[Row], summary: Row, out: Path) -> None:
    """Tables on the terminal and in the folder; figures as JSON."""
    from dp_bringup.control_bench.tables import all_tables

    tables = all_tables(rows)
    (out / "table.md").write_text(tables, encoding="utf-8")
    write_results(out / "results.json", "bench control", rows, summary)
    print(f"\n{tables}")
    for key, value in summary.items():
        print(f"{key}: {'not measured' if value is None else f'{value:.4g}'}")
    print(f"written to {out}: table.md, results.json and figures")
