"""The cell of the bench: cameras of 640x480 at 30 Hz and robot streams, as a contract the recorder can be given."""

from __future__ import annotations

from pathlib import Path

import yaml
from dp_core.contract import Contract, load_contract

MODES = ("raw", "jpeg", "zstd")
WIDTH, HEIGHT = 640, 480
CAMERA_HZ = 30.0
#: The robot's streams, Hz. A contract wants the gripper's and the command's, too; both carry poses or joints.
STATE_HZ = {"joint_states": 1000.0, "ee_pose": 100.0, "gripper": 100.0, "command": 100.0}


def bench_contract(cameras: int, mode: str) -> Contract:
    """The contract of the bench.

    Args:
        cameras: How many, at least 1.
        mode: One of ``MODES``; jpeg is a matter of the contract, zstd one of the recorder's.
    """
    plain = load_contract("sim_franka").to_dict()
    model = {**plain["cameras"]["front"], "width": WIDTH, "height": HEIGHT, "rate_hz": CAMERA_HZ}
    model["recording"] = "jpeg" if mode == "jpeg" else "raw"
    names = [f"bench{number}" for number in range(cameras)]
    plain["name"] = "recorder_bench"
    plain["cameras"] = {name: {**model, "topic": f"camera/{name}/color/image_raw"} for name in names}
    plain["observation"]["cameras"] = names[:1]
    plain["streams"] = {name: {**plain["streams"][name], "rate_hz": rate} for name, rate in STATE_HZ.items()}
    return Contract.from_dict(plain, source="the bench's cell")


def write_contract(contract: Contract, folder: Path) -> Path:
    """Put a contract where a node can read it; returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{contract.name}.yaml"
    path.write_text(yaml.safe_dump(contract.to_dict(), sort_keys=False), encoding="utf-8")
    return path
