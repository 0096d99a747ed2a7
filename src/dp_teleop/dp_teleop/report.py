"""The device and the mapping as diagnostics, for ``/diagnostics``."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus
from dp_core.teleop_spec import TeleopSpec
from dp_ros.loop_diagnostics import key_values

from dp_teleop.connection import Connection
from dp_teleop.gains import GainState
from dp_teleop.mapping import TeleopCommand

NAME = "teleop: device"


def device_status(
    connection: Connection, command: TeleopCommand | None, gains: GainState, spec: TeleopSpec, now_ns: int
) -> DiagnosticStatus:
    """The status now.

    Args:
        connection: to the device.
        command: of the last sample.
        gains: with the present tier and lock.
        spec: the mapping.
        now_ns: ROS time.
    """
    status = DiagnosticStatus(name=NAME, hardware_id=connection.name)
    status.level, status.message = _verdict(connection, command)
    status.values = key_values(
        {
            "device": connection.name,
            "connected": str(connection.connected),
            "reason": connection.reason,
            "rate_hz": f"{connection.rate_hz():.0f}",
            "age_s": f"{connection.age_s(now_ns):.3f}",
            "engaged": str(connection.connected and command is not None and command.engaged),
            "tier": str(gains.tier),
            "speed_factor": f"{spec.speed_tiers[min(gains.tier, len(spec.speed_tiers) - 1)]:g}",
            "frame": spec.frame,
            "dominant_axis": str(gains.only_dominant),
            "losses": str(connection.losses),
            "refused_samples": str(connection.refused),
            "last_refusal": connection.refusal,
            **connection.figures,
        }
    )
    return status


def _verdict(connection: Connection, command: TeleopCommand | None) -> tuple[bytes, str]:
    if not connection.connected:
        return DiagnosticStatus.ERROR, f"no device: {connection.reason}"
    if command is not None and command.waits_for:
        return DiagnosticStatus.WARN, f"waits for {command.waits_for}"
    return DiagnosticStatus.OK, f"{connection.name} at {connection.rate_hz():.0f} Hz"
