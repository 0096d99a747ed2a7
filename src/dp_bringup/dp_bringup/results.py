"""The JSON that every command with figures writes (`--json FILE`)."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dp_bringup.errors import CommandError

PACKAGES = (
    *("torch", "numpy", "mujoco", "gym-pusht", "pymunk", "diffusers", "accelerate", "zarr", "rosbags", "ros-rclpy"),
    "diffusion-policy-ros2",
)


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--json FILE` to a command."""
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures to FILE as JSON")


def add_reference_argument(parser: argparse.ArgumentParser, option: str = "--runtime") -> None:
    """Add `--reference`, short for `option` reference, which must have been added before."""
    parser.add_argument(
        "--reference",
        dest=option.removeprefix("--"),
        action="store_const",
        const="reference",
        default=argparse.SUPPRESS,
        help=f"the same as {option} reference: the plain path, whatever would be faster",
    )


def check_json_place(path: Path | None) -> None:
    """Refuse a place for the figures before the work rather than after it; nothing is made.

    Raises:
        CommandError: the place is a folder, or cannot be written.
    """
    if path is None:
        return
    if path.is_dir():
        raise CommandError(f"--json {path} is a folder; name a file")
    nearest = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if not os.access(nearest, os.W_OK) or (nearest != path.absolute() and not nearest.is_dir()):
        raise CommandError(f"--json {path} cannot be written: look at {nearest}")


def versions() -> dict[str, str]:
    """Versions of what made the figures: Python, packages and the git revision of this checkout ('' unknown)."""
    found = {"python": platform.python_version(), "git": git_revision()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def git_revision() -> str:
    """Short revision of the source tree with `+` when it has changes; empty outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def code_version() -> str:
    """Version of this software, and in a checkout its revision with `+` when it has changes."""
    found = versions()
    version, revision = found.get("diffusion-policy-ros2", "unknown"), found["git"]
    return f"{version} ({revision})" if revision else version


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, memory (GiB) and system."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return {"processor": processor, "cores": cores, "memory_gib": round(memory, 1), "system": platform.platform()}


def write_results(path: Path | None, command: str, rows: Sequence[dict[str, Any]], summary: dict[str, Any]) -> None:
    """Write `{"command", "versions", "machine", "rows", "summary"}`; nothing when `path` is None."""
    if path is None:
        return
    data = {
        "command": command,
        "versions": versions(),
        "machine": machine(),
        "rows": list(rows),
        "summary": summary,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=2, default=str) + "\n")
