"""`dp import`: make a checkpoint of another project one of ours."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dp_bringup.results import add_json_argument, write_results

EXAMPLES = """examples:
  dp import epoch=0500-test_mean_score=0.900.ckpt --out runs/pusht_stanford
  dp import latest.ckpt --out runs/last_weights --which model
  dp import ~/models/diffusion_pusht --out runs/pusht_lerobot
  dp eval pusht --checkpoint runs/pusht_stanford --episodes 100
The file is read as data: a checkpoint that asks for code to be run is refused."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="real-stanford/diffusion_policy .ckpt file, or folder of a LeRobot DiffusionPolicy",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the checkpoint; an existing one is replaced"
    )
    parser.add_argument(
        "--which", choices=("ema", "model"), help="averaged or last weights of a .ckpt (default: averaged if there)"
    )
    add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Import and say what it is and what it needs."""
    from dp_policy.checkpoint import INFO_FILE
    from dp_policy.peers.importing import import_peer

    from dp_bringup.errors import CommandError

    if (
        args.out.exists()
        and not (args.out / INFO_FILE).is_file()
        and (not args.out.is_dir() or any(args.out.iterdir()))
    ):
        raise CommandError(f"{args.out} exists and is not a checkpoint; give --out another folder")
    if (args.checkpoint / INFO_FILE).is_file():
        raise CommandError(f"{args.checkpoint} is a checkpoint of this project already; use it as it is")
    imported, policy_id = import_peer(args.checkpoint, args.out, args.which)
    summary = {
        "checkpoint": str(args.out),
        "policy_id": policy_id,
        "parameters": sum(weight.numel() for weight in imported.policy.parameters()),
        "config": imported.peer.config.to_dict(),
        "provenance": imported.provenance,
        "notes": list(imported.peer.notes),
    }
    print(describe_import(summary))
    write_results(args.json, "import", [], summary)
    return 0


def describe_import(summary: dict[str, Any]) -> str:
    """What was imported, in a few lines."""
    config, provenance = summary["config"], summary["provenance"]
    seen, action, diffusion = config["observation"], config["action"], config["diffusion"]
    encoder, normaliser = config["encoder"], config["normaliser"]
    steps = "" if provenance.get("steps") is None else f", {provenance['steps']} optimiser steps"
    numbers = f"{seen['proprioception_dim']} numbers"
    numbers += f" ({', '.join(seen['state'])})" if seen["state"] else ""
    cameras = ", ".join(f"{name} {seen['image_width']}x{seen['image_height']}" for name in seen["cameras"])
    lines = [
        f"{provenance['kind']}: {provenance['weights']} weights{steps}, {summary['parameters']:,} parameters",
        f"sees {seen['history']} frames of {' and '.join(part for part in (cameras, numbers) if part)}",
        f"predicts {action['horizon']} actions of {action['dim']} numbers, {action['past']} of them past; "
        f"executes {action['steps']}",
        f"network {_describe_network(config['denoiser'])}",
    ]
    if cameras:
        crop = "x".join(str(side) for side in reversed(encoder["crop"])) or "none"
        lines.append(
            f"encoder {encoder['kind']} ({encoder['norm']} norm), {encoder['pooling']}, crop {crop}; "
            f"images {normaliser['images']}"
        )
    lines.append(
        f"sampler {diffusion['sampler']}, {diffusion['inference_steps']} of {diffusion['train_steps']} steps, "
        f"{diffusion['spacing']} spacing, predicts {diffusion['prediction']}"
    )
    lines += [f"note: {note}" for note in summary["notes"]]
    return "\n".join([*lines, f"checkpoint: {summary['checkpoint']} (policy {summary['policy_id']})"])


def _describe_network(denoiser: dict[str, Any]) -> str:
    if denoiser["kind"] == "transformer":
        part = denoiser["transformer"]
        return f"transformer, {part['layers']} layers of {part['width']} channels, {part['heads']} heads"
    return f"unet1d, channels {denoiser['sizes']}, kernel {denoiser['kernel']}"
