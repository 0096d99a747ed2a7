"""The contract of a cell: the one description that every part of the stack shares.

Teleoperation, recorder, dataset builder, policy node, control and simulator read the same file,
``config/cells/<name>.yaml``. The recorder embeds it in each bag, the trainer in each checkpoint, and deployment
refuses a checkpoint whose contract differs (:func:`contract_difference`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from dp_core.camera_device import CameraDevice, require_matching_cameras
from dp_core.configuration import ConfigurationError, build_dataclass, require_choice, require_range
from dp_core.impedance import ImpedanceGains
from dp_core.limits import MotionLimits, SafetySpec
from dp_core.robot_spec import RobotSpec
from dp_core.teleop_spec import TeleopSpec as TeleopSpec

REQUIRED_STREAMS = ("joint_states", "ee_pose", "gripper", "command")


class ContractError(ConfigurationError):
    """The contract is missing, incomplete or contradicts itself."""


@dataclass(frozen=True)
class CameraStream:
    """A colour camera.

    ``latency_s``: header stamp minus acquisition; ``latency_uncertainty_s``: its standard uncertainty, as
    `dp calibrate` measured it. ``max_age_s``: an older frame is not an observation.
    ``recording``: raw (as the camera sent it) or jpeg.
    """

    topic: str
    width: int
    height: int
    rate_hz: float
    max_age_s: float
    latency_s: float = 0.0
    latency_uncertainty_s: float = 0.0
    recording: str = "raw"
    jpeg_quality: int = 90

    def __post_init__(self) -> None:
        """Check ranges."""
        require_range("width", self.width, 8, 8192, "pixels")
        require_range("height", self.height, 8, 8192, "pixels")
        require_range("rate_hz", self.rate_hz, 0.1, 1000, "Hz")
        require_range("max_age_s", self.max_age_s, 0.5 / self.rate_hz, 60, "s (half a period at least)")
        require_range("latency_s", self.latency_s, -1, 5, "s")
        require_range("latency_uncertainty_s", self.latency_uncertainty_s, 0, 1, "s")
        require_choice("recording", self.recording, ("raw", "jpeg"))
        require_range("jpeg_quality", self.jpeg_quality, 1, 100)


@dataclass(frozen=True)
class StateStream:
    """A stream of robot state or commands; fields as in :class:`CameraStream`."""

    topic: str
    type: str
    rate_hz: float
    max_age_s: float
    latency_s: float = 0.0
    latency_uncertainty_s: float = 0.0
    joint_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check ranges."""
        if self.type.count("/") != 2:
            raise ConfigurationError(f"type: {self.type!r} is not a message type such as sensor_msgs/msg/JointState")
        require_range("rate_hz", self.rate_hz, 0.1, 10000, "Hz")
        require_range("max_age_s", self.max_age_s, 0.0005, 60, "s")
        require_range("latency_s", self.latency_s, -1, 5, "s")
        require_range("latency_uncertainty_s", self.latency_uncertainty_s, 0, 1, "s")


@dataclass(frozen=True)
class ActionSpace:
    """Actions: absolute base-frame poses of the end effector and gripper widths at ``rate_hz``.

    ``latency_s``: a pose command sent at t shows in the world at t + latency_s; ``latency_uncertainty_s``: its standard
    uncertainty.
    """

    rate_hz: float
    latency_s: float = 0.0
    latency_uncertainty_s: float = 0.0
    representation: str = "absolute"

    def __post_init__(self) -> None:
        """Check ranges."""
        require_range("rate_hz", self.rate_hz, 0.5, 200, "Hz")
        require_range("latency_s", self.latency_s, 0, 2, "s")
        require_range("latency_uncertainty_s", self.latency_uncertainty_s, 0, 1, "s")
        require_choice("representation", self.representation, ("absolute",))

    @property
    def period_ns(self) -> int:
        """Time between two actions in nanoseconds."""
        return round(1e9 / self.rate_hz)


@dataclass(frozen=True)
class GripperSpec:
    """A parallel gripper: widths in m, closing speed in m/s, grasping force in N, command latency in s.

    ``latency_s``: the fingers begin to move this long after the command; ``latency_uncertainty_s``: its standard
    uncertainty.
    """

    min_width_m: float
    max_width_m: float
    speed_m_s: float
    force_N: float
    latency_s: float = 0.0
    latency_uncertainty_s: float = 0.0

    def __post_init__(self) -> None:
        """Check ranges."""
        require_range("min_width_m", self.min_width_m, 0, 1, "m")
        require_range("max_width_m", self.max_width_m, self.min_width_m + 1e-3, 1, "m (above min_width_m)")
        require_range("speed_m_s", self.speed_m_s, 1e-3, 2, "m/s")
        require_range("force_N", self.force_N, 0.1, 500, "N")
        require_range("latency_s", self.latency_s, 0, 2, "s")
        require_range("latency_uncertainty_s", self.latency_uncertainty_s, 0, 1, "s")


@dataclass(frozen=True)
class ControlSpec:
    """The control loop.

    ``input_max_age_s``: a twist older than this stops the arm. ``state_max_age_s``: measured pose older than this is
    a fault. ``track_error_m``: farther than this between measured and commanded pose is a fault.
    """

    rate_hz: float
    input_max_age_s: float
    state_max_age_s: float
    track_error_m: float

    def __post_init__(self) -> None:
        """Check ranges."""
        require_range("rate_hz", self.rate_hz, 50, 1000, "Hz")
        require_range("input_max_age_s", self.input_max_age_s, 0.01, 1, "s")
        require_range("state_max_age_s", self.state_max_age_s, 0.01, 1, "s")
        require_range("track_error_m", self.track_error_m, 0.005, 1, "m")

    @property
    def period_ns(self) -> int:
        """Control period in nanoseconds."""
        return round(1e9 / self.rate_hz)


@dataclass(frozen=True)
class ObservationSpec:
    """What the policy sees: cameras in this order, resized to image_width x image_height, and proprioception."""

    cameras: tuple[str, ...]
    image_width: int
    image_height: int

    def __post_init__(self) -> None:
        """Check ranges."""
        require_range("image_width", self.image_width, 16, 4096, "pixels")
        require_range("image_height", self.image_height, 16, 4096, "pixels")
        if not self.cameras:
            raise ConfigurationError("cameras: at least one camera is needed")


@dataclass(frozen=True)
class Contract:
    """Everything that the parts of the stack must agree on. See the module."""

    name: str
    base_frame: str
    ee_frame: str
    cameras: dict[str, CameraStream]
    streams: dict[str, StateStream]
    observation: ObservationSpec
    action: ActionSpace
    gripper: GripperSpec
    limits: MotionLimits
    control: ControlSpec
    teleop: TeleopSpec = field(default_factory=TeleopSpec)
    safety: SafetySpec = field(default_factory=SafetySpec)
    robot: RobotSpec = field(default_factory=RobotSpec)
    impedance: ImpedanceGains = field(default_factory=ImpedanceGains)
    camera_devices: dict[str, CameraDevice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        for name in REQUIRED_STREAMS:
            if name not in self.streams:
                raise ConfigurationError(
                    f"streams.{name}: missing key; required streams: {', '.join(REQUIRED_STREAMS)}"
                )
        for name in self.observation.cameras:
            if name not in self.cameras:
                raise ConfigurationError(
                    f"observation.cameras: '{name}' is not a camera; valid: {', '.join(sorted(self.cameras))}"
                )
        require_matching_cameras(self.camera_devices, self.cameras)
        if len(self.streams["gripper"].joint_names) == 0:
            raise ConfigurationError("streams.gripper.joint_names: missing; the width is the sum of these joints")
        if "wrench" not in self.streams and (self.safety.force_limit_N or self.safety.torque_limit_Nm):
            raise ConfigurationError("safety.force_limit_N: needs streams.wrench, which is missing")
        if self.safety.dead_man and self.teleop.clutch_button < 0:
            raise ConfigurationError("safety.dead_man: needs teleop.clutch_button, the button to be held")
        table, top = self.safety.table_height_m, self.limits.workspace_max_m[2]
        if table is not None and table >= top:
            raise ConfigurationError(
                f"safety.table_height_m: {table} must be below the top of the workspace (limits.workspace_max_m, {top})"
            )
        if self.action.rate_hz > self.control.rate_hz:
            raise ConfigurationError(
                f"action.rate_hz: {self.action.rate_hz} is above control.rate_hz {self.control.rate_hz}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as for YAML or JSON; :meth:`from_dict` reads it back."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        if not plain["camera_devices"]:
            del plain["camera_devices"]  # so that cells without keep the hash they had
        return plain

    @staticmethod
    def from_dict(data: Mapping[str, Any], source: str = "contract") -> Contract:
        """Build a contract from plain data.

        Raises:
            ContractError: names the source, the key, the value and what is valid.
        """
        try:
            return build_dataclass(Contract, data)
        except ConfigurationError as error:
            raise ContractError(f"{source}: {error}") from None

    @property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def config_directory() -> Path:
    """The folder that holds cells/, policies/ and dds/: $DP_CONFIG_DIR, the source tree, or the installed share."""
    if os.environ.get("DP_CONFIG_DIR"):
        return Path(os.environ["DP_CONFIG_DIR"])
    candidates = [Path(__file__).resolve().parents[3] / "config"]
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix:
            candidates.append(Path(prefix) / "share" / "dp_bringup" / "config")
    for candidate in candidates:
        if (candidate / "cells").is_dir():
            return candidate
    raise ContractError(
        f"no configuration folder found in {', '.join(map(str, candidates))}; "
        "set DP_CONFIG_DIR to the folder with cells/"
    )


def load_contract(cell: str | Path) -> Contract:
    """Read a contract.

    Args:
        cell: a YAML file, or the name of one in the cells folder of the configuration, for example ``sim_franka``.

    Raises:
        ContractError: no such cell (lists those there are), not YAML, or a bad key.
    """
    path = Path(cell)
    if path.suffix not in (".yaml", ".yml"):
        folder = config_directory() / "cells"
        path = folder / f"{cell}.yaml"
        if not path.is_file():
            names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
            raise ContractError(f"no cell '{cell}'; valid: {names}, or the path of a .yaml file")
    if not path.is_file():
        raise ContractError(f"no such contract file: {path}")
    try:
        data = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ContractError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return Contract.from_dict(data, source=str(path))


# Keys that a checkpoint does not depend on: how a person drives the arm, what stops it, who executes its commands,
# which devices deliver its pictures.
_NOT_LEARNT = ("teleop", "safety", "robot", "camera_devices")


# How well a latency is known says nothing about what was learnt with it.
_LATENCY, _UNCERTAINTY = "latency_s", "latency_uncertainty_s"


def contract_difference(
    expected: Contract, actual: Contract, ignore: tuple[str, ...] = _NOT_LEARNT, latencies: bool = True
) -> list[str]:
    """Lines such as ``cameras.front.width: 96 != 128`` for each key in which two contracts differ.

    Args:
        expected: left-hand side.
        actual: right-hand side.
        ignore: top-level keys that may differ.
        latencies: False: latencies may differ, as between a cell and itself calibrated.
    """
    uncompared = {_UNCERTAINTY} if latencies else {_UNCERTAINTY, _LATENCY}
    lines: list[str] = []

    def walk(a: Any, b: Any, where: str) -> None:
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            for key in sorted({*a, *b}):
                if (not where and key in ignore) or key in uncompared:
                    continue
                name = f"{where}.{key}" if where else str(key)
                if key not in a or key not in b:
                    present = a.get(key, b.get(key))
                    lines.append(
                        f"{name}: {'absent' if key not in a else present} != {'absent' if key not in b else present}"
                    )
                else:
                    walk(a[key], b[key], name)
        elif a != b:
            lines.append(f"{where}: {a} != {b}")

    walk(expected.to_dict(), actual.to_dict(), "")
    return lines
