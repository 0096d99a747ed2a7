"""Recorded episodes whose arm and gripper lag behind their commands by known times."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dp_bringup.calibration.excitation import Wobble

_SPEC = importlib.util.spec_from_file_location(
    "synthetic_episodes", Path(__file__).resolve().parents[2] / "dp_dataset" / "conftest.py"
)
_EPISODES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_EPISODES)
contract, cell, record = _EPISODES.contract, _EPISODES.cell, _EPISODES.record

ARM_LAG_S, GRIPPER_LAG_S, POSE_LATENCY_S = 0.07, 0.12, 0.01
EPISODE_S = 7.0
_MOTION = Wobble(duration_s=6.0, amplitude_m=0.02)
_GRID_S = np.arange(0.0, 6.0, 0.002)
_DEFLECTION = _MOTION.deflection(np.random.default_rng(0), _GRID_S)


class LaggingCell(_EPISODES.Cell):
    """Wobbles along x and y, and closes, opens and closes; poses are stamped late, as the contract says."""

    def __init__(self, contract):
        streams = dict(contract.streams)
        streams["ee_pose"] = replace(streams["ee_pose"], latency_s=POSE_LATENCY_S, latency_uncertainty_s=0.002)
        super().__init__(replace(contract, streams=streams))

    def asked_position(self, t_s):
        offset = float(np.interp(t_s - 0.8, _GRID_S, _DEFLECTION))
        return np.array([0.5 + offset, 0.5 * offset, 0.3])

    def position(self, t_s):
        # What is stamped t was measured POSE_LATENCY_S before.
        return self.asked_position(t_s - POSE_LATENCY_S - ARM_LAG_S)

    def asked_width(self, t_s):
        return 0.08 if t_s < 1.0 or 3.0 <= t_s < 5.0 else 0.0

    def width(self, t_s):
        onsets = 0.15 * (t_s - GRIPPER_LAG_S - np.array([1.0, 3.0, 5.0]))
        run = np.clip(onsets, 0.0, 0.08)
        return float(0.08 - run[0] + run[1] - run[2])

    def command(self, t_ns, t_s, mode=1):
        message = super().command(t_ns, t_s, mode)
        message.commanded_pose = self.pose(self.asked_position(t_s))
        message.commanded_width = self.asked_width(t_s)
        return message


@pytest.fixture
def episodes(tmp_path, contract, record):
    """Two episodes with the same stamps, as of a simulator that was started twice."""
    cell = LaggingCell(contract)
    return [record(tmp_path / "bags", cell=cell, seconds=EPISODE_S).folder for _ in range(2)]
