"""`dp export`: a checkpoint with the fastest runtime of this processor, ready for the robot's computer."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_bringup.errors import CommandError
from dp_bringup.results import add_json_argument, add_reference_argument, write_results

if TYPE_CHECKING:
    from dp_policy.runtime.artefact import ExportReport

EXAMPLES = """examples:
  dp export runs/latest/checkpoint --out runs/export
  dp export runs/latest/checkpoint --out runs/export --threads 2 --json export.json
  dp export runs/latest/checkpoint --out runs/export --precision int8
  dp up deploy --checkpoint runs/export
Run it on the computer that will run the policy: the choice is measured. An export is a checkpoint too."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder, or a training run: its newest checkpoint")
    parser.add_argument("--out", type=Path, required=True, help="folder for the export; an existing one is replaced")
    parser.add_argument(
        "--threads", type=int, default=1, help="processor threads that the policy will have (default: 1)"
    )
    parser.add_argument(
        "--precision",
        default="auto",
        help="auto: the fastest that agrees with the plain path, without 8-bit weights; int8: with them, where success "
        "was seen to hold (dp eval --runtime int8); reference: the plain path (default: auto)",
    )
    add_reference_argument(parser, "--precision")
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Export and say what was chosen, and why."""
    from dp_benchmark.policies import find_checkpoint
    from dp_policy.checkpoint import INFO_FILE, load_checkpoint
    from dp_policy.runtime.artefact import export_policy
    from dp_policy.runtime.selection import RUNTIMES

    if args.threads < 1:
        raise CommandError(f"--threads {args.threads} is not valid; at least 1")
    if args.precision not in RUNTIMES:
        raise CommandError(f"--precision {args.precision!r} is not valid; valid: {', '.join(RUNTIMES)}")
    foreign = args.out.exists() and not (args.out / INFO_FILE).is_file()
    if foreign and (not args.out.is_dir() or any(args.out.iterdir())):
        raise CommandError(f"{args.out} exists and is not a checkpoint; give --out another folder")
    loaded = load_checkpoint(find_checkpoint(args.checkpoint))
    report = export_policy(loaded, args.out, args.threads, args.precision)
    print(describe_export(report))
    summary = {
        "export": str(report.folder),
        "policy_id": report.policy_id,
        "denoiser": report.choice.denoiser,
        "encoder": report.choice.encoder,
        "description": report.description,
        "library": report.library,
        "threads": args.threads,
    }
    write_results(args.json, "export", list(report.verdicts), summary)
    return 0


def describe_export(report: ExportReport) -> str:
    """What was measured, refused and taken, in a few lines."""
    from dp_benchmark.tables import markdown_table

    taken = {"denoiser": report.choice.denoiser, "encoder": report.choice.encoder}
    cells = [
        (
            *(verdict["part"], verdict["name"]),
            *(_number(verdict["ms"], "{:.2f}"), _number(verdict["difference"], "{:.1e}")),
            verdict["reason"] or ("taken" if taken[verdict["part"]] == verdict["name"] else "agrees"),
        )
        for verdict in report.verdicts
    ]
    headers = ("part", "runtime", "ms", "difference", "verdict")
    lines = [markdown_table(headers, cells)] if cells else []
    lines.append(
        "ms: of one evaluation of the denoiser, of one frame of the encoder; difference: of the chunk from the"
    )
    lines.append("plain path's, normalised units, in which the data span 2")
    lines.append(f"denoiser: {taken['denoiser']}; encoder: {taken['encoder']}")
    lines.append(
        f"compiled library: {report.library or 'none; it is built, or another runtime chosen, where it is run'}"
    )
    return "\n".join([*lines, f"export: {report.folder} (policy {report.policy_id})"])


def _number(value: Any, form: str) -> str:
    return "" if value is None else form.format(value)
