"""The node graphs: one description for the launch files, `dp up` and the demo.

A graph is a tuple of :class:`NodeSpec`; `launch/*.launch.py` turn it into launch_ros nodes, :mod:`dp_bringup.processes`
into child processes. Options have one table, from which launch arguments and command-line options are made.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dp_core.configuration import ConfigurationError, require_choice
from dp_core.contract import load_contract

MODES = ("teleop", "deploy")


@dataclass(frozen=True)
class NodeSpec:
    """One process of a graph.

    `package`/`executable` are how ROS finds it, `module` how Python does (`python -m module`).
    """

    package: str
    executable: str
    module: str
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    remappings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class GraphOption:
    """A choice that the user of a graph has. `modes` are the graphs that know it."""

    name: str
    default: str | float | int | bool
    description: str
    modes: tuple[str, ...] = MODES


OPTIONS = (
    GraphOption("cell", "sim_franka", "name of the cell (config/cells/<name>.yaml) or path of a contract file"),
    GraphOption("task", "place", "task of the simulated cell: place, reach_around or grasp_moving"),
    GraphOption("seed", 0, "seed of the first scene and of the scripted operator"),
    GraphOption("simulate", "auto", "start the simulated cell: true, false, or auto (cells named sim_*)"),
    GraphOption("rate", 1.0, "simulated seconds per second of wall time; 0 is as fast as the machine can"),
    GraphOption("lock_step", False, "the simulator waits for each control command, so that speed changes nothing"),
    GraphOption("record_dir", "runs/recordings", "folder in which the recorder puts its episodes"),
    GraphOption("use_sim_time", "auto", "nodes follow /clock: true, false, or auto (true with the simulated cell)"),
    GraphOption(
        "cameras",
        "auto",
        "start the camera node: true, false (other drivers publish the images), or auto (when the contract has "
        "camera_devices and the cell is not simulated)",
    ),
    GraphOption("operator", "auto", "start the scripted operator: true, false, or auto (as simulate)", ("teleop",)),
    GraphOption(
        "teleop",
        "auto",
        "start the SpaceMouse node, for takeovers: true, false, or auto (as the contract's safety section asks)",
        ("deploy",),
    ),
    GraphOption("checkpoint", "", "folder of the trained policy (model.safetensors, checkpoint.json)", ("deploy",)),
    GraphOption(
        "runtime",
        "auto",
        "what runs the networks: auto or int8 (measured at each start; an export keeps the choice), or reference",
        ("deploy",),
    ),
    GraphOption(
        "continuity",
        "auto",
        "how a chunk goes on from the one before: auto, prefix, guided, warm_start, coherent or none",
        ("deploy",),
    ),
    GraphOption("actions_per_chunk", 0, "actions executed of each chunk; 0: as the policy was trained", ("deploy",)),
    GraphOption("policy_seed", 0, "seed of the policy's noise", ("deploy",)),
    GraphOption(
        "dry_run",
        False,
        "the policy plans, in any mode, where nothing listens: the arm does not move by it",
        ("deploy",),
    ),
    GraphOption("autostart", True, "the policy starts itself; false: by its lifecycle services", ("deploy",)),
)

# Parameters of the policy node by the option that sets them.
_POLICY_PARAMETERS = {
    "runtime": "runtime",
    "continuity": "continuity",
    "actions_per_chunk": "actions_per_chunk",
    "seed": "policy_seed",
    "dry_run": "dry_run",
    "autostart": "autostart",
}


def options_of(mode: str) -> tuple[GraphOption, ...]:
    """The options that a graph knows.

    Raises:
        ConfigurationError: no such graph; lists those there are.
    """
    require_choice("graph", mode, MODES)
    return tuple(option for option in OPTIONS if mode in option.modes)


def build_graph(mode: str, **choices: Any) -> tuple[NodeSpec, ...]:
    """Describe the processes of a graph.

    Args:
        mode: `teleop` (the operator drives) or `deploy` (the policy drives); the recorder listens in both.
        **choices: values of :data:`OPTIONS`; strings as launch gives them are accepted.

    Raises:
        ConfigurationError: names the option or the key of the contract, its value and what is valid.
    """
    known = {option.name: option for option in options_of(mode)}
    for name in choices:
        require_choice("option", name, known)
    values = {name: _convert(option, choices.get(name, option.default)) for name, option in known.items()}
    contract = load_contract(values["cell"])  # a bad contract is refused before anything starts
    simulate = _resolve(values, "simulate", auto=contract.name.startswith("sim_"))
    use_sim_time = _resolve(values, "use_sim_time", auto=simulate)
    shared = {"cell": values["cell"], "use_sim_time": use_sim_time}
    nodes = [_simulator(values)] if simulate else []
    if _resolve(values, "cameras", auto=bool(contract.camera_devices) and not simulate):
        # Cameras are real, whatever the clock of the others.
        nodes.append(_node("dp_camera", "camera_node", {"cell": values["cell"]}))
    nodes.append(_node("dp_control", "control_node", shared))
    directory = str(Path(values["record_dir"]).resolve())
    nodes.append(_node("dp_recorder", "recorder_node", {**shared, "directory": directory}))
    if mode == "deploy":
        # Without it nobody can take over, or hold the dead-man button.
        if _resolve(values, "teleop", auto=contract.safety.takeover or "policy" in contract.safety.dead_man):
            nodes.append(_node("dp_teleop", "teleop_node", shared))
        return (*nodes, _policy(values, shared))
    nodes.append(_node("dp_teleop", "teleop_node", shared))
    if _resolve(values, "operator", auto=simulate):
        operator = {**shared, "task": values["task"], "seed": values["seed"]}
        nodes.append(_node("dp_sim", "operator_node", operator, module="dp_sim.operator_node"))
    return tuple(nodes)


def _policy(values: dict[str, Any], shared: dict[str, Any]) -> NodeSpec:
    """The policy node; nodes may start elsewhere, so the checkpoint is made absolute when it lies here."""
    if not values["checkpoint"]:
        raise ConfigurationError("checkpoint: missing; give the folder that `dp train` wrote")
    chosen = {name: values[option] for name, option in _POLICY_PARAMETERS.items()}
    chosen["checkpoint"] = str(Path(values["checkpoint"]).resolve())
    return _node("dp_policy_node", "policy_node", {**shared, **chosen})


def _simulator(values: dict[str, Any]) -> NodeSpec:
    """The simulated cell; it makes the clock, so it never follows it."""
    return _node("dp_sim", "sim_node", {name: values[name] for name in ("cell", "task", "seed", "rate", "lock_step")})


def _node(package: str, executable: str, parameters: dict[str, Any], module: str = "") -> NodeSpec:
    return NodeSpec(package, executable, module or f"{package}.node", executable, parameters)


def _convert(option: GraphOption, value: Any) -> Any:
    """A value of the type of the option's default, from text where need be."""
    kind = type(option.default)
    if kind is bool:
        return _boolean(option.name, value)
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{option.name}: {value!r} is not valid; valid: {option.description}") from None


def _boolean(name: str, value: Any) -> bool:
    text = str(value).lower()
    require_choice(name, text, ("true", "false"))
    return text == "true"


def _resolve(values: dict[str, Any], name: str, auto: bool) -> bool:
    """The value of an option that may be `auto`."""
    text = str(values[name]).lower()
    require_choice(name, text, ("auto", "true", "false"))
    return auto if text == "auto" else text == "true"
