"""Rates of a contract in milliseconds of physics."""

from __future__ import annotations

from dp_core.configuration import ConfigurationError, require_range
from dp_core.contract import Contract

STATE_STREAMS = ("joint_states", "ee_pose", "wrench", "gripper")


def tick_ms(contract: Contract) -> int:
    """Length of a tick: the period of control, ms.

    Raises:
        ConfigurationError: not a whole number of milliseconds; names valid rates.
    """
    return _whole_ms("control.rate_hz", contract.control.rate_hz, 1)


def stream_periods_ms(contract: Contract) -> dict[str, int]:
    """Period of each published state stream of the contract, ms. Raises `ConfigurationError` as `tick_ms`."""
    tick = tick_ms(contract)
    return {
        key: _whole_ms(f"streams.{key}.rate_hz", contract.streams[key].rate_hz, tick)
        for key in STATE_STREAMS
        if key in contract.streams
    }


def camera_periods_ms(contract: Contract) -> dict[str, float]:
    """Period of each camera of the contract, ms; pictures are taken at the nearest whole millisecond.

    Raises:
        ConfigurationError: more than one picture in a tick; names the highest rate.
    """
    highest_hz = 1000.0 / tick_ms(contract)
    for name, camera in contract.cameras.items():
        require_range(f"cameras.{name}.rate_hz", camera.rate_hz, 0.1, highest_hz, "Hz (control.rate_hz)")
    return {name: 1000.0 / camera.rate_hz for name, camera in contract.cameras.items()}


def _whole_ms(key: str, rate_hz: float, tick: int) -> int:
    ticks = 1000.0 / rate_hz / tick
    if round(ticks) < 1 or abs(ticks - round(ticks)) > 1e-6:
        unit = "milliseconds of physics" if tick == 1 else f"{tick} ms ticks (control.rate_hz)"
        valid = ", ".join(f"{1000.0 / (tick * count):g}" for count in (1, 2, 4, 5, 8, 10, 20))
        raise ConfigurationError(f"{key}: {rate_hz:g} Hz is not a whole number of {unit}; valid: {valid}, ...")
    return round(ticks) * tick
