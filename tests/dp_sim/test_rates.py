"""Rates of a contract in ticks of physics."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dp_core.configuration import ConfigurationError
from dp_core.contract import Contract, load_contract
from dp_sim.rates import camera_periods_ms, stream_periods_ms, tick_ms


def with_rates(contract: Contract, control: float, stream: float = 100.0, camera: float = 10.0) -> Contract:
    streams = {key: replace(value, rate_hz=stream) for key, value in contract.streams.items()}
    cameras = {key: replace(value, rate_hz=camera, max_age_s=1.0) for key, value in contract.cameras.items()}
    return replace(contract, control=replace(contract.control, rate_hz=control), streams=streams, cameras=cameras)


@pytest.mark.parametrize(
    ("cell", "tick", "slow"), [("sim_franka", 10, 10), ("sim_franka_joint", 5, 10), ("sim_franka_effort", 4, 8)]
)
def test_the_simulated_cells_have_whole_ticks(cell, tick, slow):
    contract = load_contract(cell)
    assert tick_ms(contract) == tick
    assert stream_periods_ms(contract) == {"joint_states": tick, "ee_pose": tick, "wrench": slow, "gripper": slow}
    assert camera_periods_ms(contract) == {"front": 100, "wrist": 100}


@pytest.mark.parametrize("rate", [300.0, 64.0, 999.0])
def test_a_control_rate_without_a_whole_number_of_milliseconds_is_refused(contract, rate):
    with pytest.raises(ConfigurationError, match=rf"control.rate_hz: {rate:g} Hz .*valid: 1000, 500, 250, 200"):
        tick_ms(with_rates(contract, rate))


def test_streams_are_whole_numbers_of_ticks(contract):
    assert stream_periods_ms(with_rates(contract, 250.0, 50.0))["wrench"] == 20
    with pytest.raises(ConfigurationError, match=r"streams.joint_states.rate_hz: 100 Hz .*4 ms .*valid: 250, 125"):
        stream_periods_ms(with_rates(contract, 250.0, 100.0))


def test_a_camera_takes_one_picture_in_a_tick_at_most(contract):
    assert camera_periods_ms(with_rates(contract, 100.0, 100.0, 30.0))["front"] == pytest.approx(33.333, abs=1e-3)
    with pytest.raises(ConfigurationError, match=r"cameras.front.rate_hz: 120.0 is out of range; valid: 0.1 to 100"):
        camera_periods_ms(with_rates(contract, 100.0, 100.0, 120.0))
