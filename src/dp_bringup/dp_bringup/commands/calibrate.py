"""`dp calibrate camera|robot|gripper`: measure the latencies of a cell and write them into its contract."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_bringup.results import add_json_argument

if TYPE_CHECKING:
    from dp_core.contract import Contract

    from dp_bringup.calibration.outcome import Destination

EXAMPLES = """examples:
  dp calibrate camera --cell my_cell.yaml                        # a screen before the cameras of a running cell
  dp calibrate camera --cell sim_franka --dry-run --sim-camera-delay 0.04
  dp calibrate robot --cell my_cell.yaml --axes x,y --amplitude 0.015
  dp calibrate robot --cell sim_franka --out my_sim.yaml --sim-command-delay 0.03
  dp calibrate robot --bag runs/recordings/* --dry-run           # from what has been recorded; nothing moves
  dp calibrate gripper --cell my_cell.yaml --steps 10
  dp calibrate gripper --cell sim_franka --dry-run --sim-gripper-delay 0.05
Step by step, with what each number means: docs/calibration.md"""

ACTIONS = {
    "camera": "header stamp minus acquisition of camera pictures, by a clock code on a screen",
    "robot": "how much later than commanded a pose shows in the world, by a wobble of the arm",
    "gripper": "how much later than commanded the fingers begin to move, by opening and closing",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the three actions."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, what in ACTIONS.items():
        action = actions.add_parser(name, help=what, description=f"Measure: {what}.")
        _configure_shared(action, bag=name != "camera")
        {"camera": _configure_camera, "robot": _configure_robot, "gripper": _configure_gripper}[name](action)


def _configure_shared(parser: argparse.ArgumentParser, bag: bool) -> None:
    parser.add_argument("--cell", help="cell contract: a name, or a .yaml file (default: sim_franka)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the contract with the new numbers to FILE")
    parser.add_argument("--dry-run", action="store_true", help="measure and plot; leave the contract alone")
    parser.add_argument("--write-shipped", action="store_true", help="allow to change a cell of config/cells")
    what = "start the simulated cell: true, false (attach to what runs), or auto (cells named sim_*)"
    parser.add_argument("--start", choices=("auto", "true", "false"), default="auto", help=f"{what} (default: auto)")
    parser.add_argument("--run", type=Path, help="folder for plots and logs (default: a new one under runs/)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the motion and the simulator (default: 0)")
    if bag:
        what = "measure in recorded episodes of one cell; nothing moves"
        parser.add_argument("--bag", type=Path, nargs="+", default=[], metavar="EPISODE", help=what)
        parser.add_argument("--yes", action="store_true", help="do not ask before a real arm or gripper moves")
    add_json_argument(parser)


def _configure_camera(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cameras", default="", help="names, separated by commas (default: all of the contract)")
    parser.add_argument("--pictures", type=int, default=150, help="of each camera (default: 150)")
    parser.add_argument("--hold", type=int, default=2, help="screen refreshes for which a code stays (default: 2)")
    what = "from the flip of the screen to light, s (default: 0.010; simulated: 0)"
    parser.add_argument("--display-latency", type=float, metavar="S", help=what)
    what = "standard uncertainty of that, s (default: 0.005; simulated: 0)"
    parser.add_argument("--display-uncertainty", type=float, metavar="S", help=what)
    parser.add_argument(
        "--sim-camera-delay", type=float, default=0.0, metavar="S", help="delay of the simulated cameras"
    )
    parser.add_argument("--sim-camera-jitter", type=float, default=0.0, metavar="S", help="and its jitter, either way")
    what = "refresh period of the simulated screens, s (default: 0.0171)"
    parser.add_argument("--sim-screen-period", type=float, default=0.0171, metavar="S", help=what)


def _configure_robot(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--axes", default="x,y,z", help="axes of the base frame to wobble along (default: x,y,z)")
    parser.add_argument("--amplitude", type=float, default=0.02, metavar="M", help="largest deflection (default: 0.02)")
    parser.add_argument("--duration", type=float, default=8.0, metavar="S", help="of one wobble (default: 8)")
    parser.add_argument("--repeat", type=int, help="wobbles along each axis (default: 2; 3 along a single one)")
    parser.add_argument("--band", type=float, nargs=2, default=(0.3, 1.0), metavar="HZ", help="(default: 0.3 1.0)")
    what = "with --bag: length of the parts that are looked at (default: 8)"
    parser.add_argument("--window", type=float, default=8.0, metavar="S", help=what)
    parser.add_argument("--longest-lag", type=float, default=0.6, metavar="S", help="that is tried (default: 0.6)")
    parser.add_argument("--sim-command-delay", type=float, default=0.0, metavar="S", help="delay of the simulated arm")


def _configure_gripper(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=8, help="closings and openings (default: 8)")
    parser.add_argument("--rest", type=float, default=1.5, metavar="S", help="between two of them (default: 1.5)")
    what = "delay of the simulated gripper"
    parser.add_argument("--sim-gripper-delay", type=float, default=0.0, metavar="S", help=what)


def run(args: argparse.Namespace) -> int:
    """Measure one thing."""
    from dp_core.contract import load_contract

    from dp_bringup.calibration.estimate import CalibrationError
    from dp_bringup.calibration.outcome import Destination
    from dp_bringup.run_folder import new_run_folder

    if getattr(args, "bag", []) and args.cell is None and not args.dry_run:
        raise CalibrationError("--bag: say which contract gets the numbers (--cell), or only measure (--dry-run)")
    contract: Contract = load_contract(args.cell or "sim_franka")
    destination = Destination(args.cell or "sim_franka", args.out, args.dry_run, args.write_shipped)
    destination.check()
    measure: Callable[..., None] = {"camera": _camera, "robot": _robot, "gripper": _gripper}[args.action]
    check = {"camera": _check_camera, "robot": _check_robot, "gripper": _check_gripper}[args.action]
    check(args, contract)
    folder = args.run or new_run_folder(Path("runs"))
    measure(args, contract, destination, folder)
    return 0


def _check_camera(args: argparse.Namespace, contract: Contract) -> None:
    from dp_core.configuration import require_choice, require_range

    for name in _names(args.cameras, contract):
        require_choice("--cameras", name, contract.cameras)
    require_range("--pictures", args.pictures, 20, 100000)
    require_range("--hold", args.hold, 1, 60, "refreshes")
    require_range("--sim-screen-period", args.sim_screen_period, 0.002, 1, "s")
    for name, value in (("latency", args.display_latency), ("uncertainty", args.display_uncertainty)):
        if value is not None:
            require_range(f"--display-{name}", value, 0, 0.5, "s")


def _names(text: str, contract: Contract) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()] or list(contract.cameras)


def _axes(args: argparse.Namespace) -> tuple[str, ...]:
    return tuple(axis.strip() for axis in args.axes.split(",") if axis.strip())


def _repeat(args: argparse.Namespace) -> int:
    """Wobbles along each axis; as many as an estimate needs unless told otherwise."""
    from dp_bringup.calibration.robot_latency import LEAST_WINDOWS

    needed = -(-LEAST_WINDOWS // max(len(_axes(args)), 1))
    return max(2, needed) if args.repeat is None else int(args.repeat)


def _check_robot(args: argparse.Namespace, contract: Contract) -> None:
    from dp_core.configuration import require_choice, require_range

    from dp_bringup.calibration.estimate import CalibrationError
    from dp_bringup.calibration.robot_latency import AXES, LEAST_WINDOWS

    for axis in _axes(args) or ("",):
        require_choice("--axes", axis, AXES)
    require_range("--repeat", _repeat(args), 1, 20)
    wobbles = _repeat(args) * len(_axes(args))
    if wobbles < LEAST_WINDOWS and not args.bag:
        raise CalibrationError(
            f"--repeat {args.repeat} along {args.axes} gives {wobbles} wobbles; at least {LEAST_WINDOWS} are needed"
        )
    require_range("--window", args.window, 2.0, 60.0, "s")
    require_range("--longest-lag", args.longest_lag, 0.05, 2.0, "s")
    _wobble(args)


def _wobble(args: argparse.Namespace) -> Any:
    from dp_bringup.calibration.excitation import Wobble

    return Wobble(args.amplitude, args.duration, *args.band)


def _check_gripper(args: argparse.Namespace, contract: Contract) -> None:
    from dp_bringup.calibration.excitation import step_widths

    step_widths(contract, contract.gripper.max_width_m, args.steps, args.rest)


def _starts(args: argparse.Namespace, contract: Contract) -> bool:
    """Whether to start a simulated cell; a real one is started by `dp up`, never from here."""
    from dp_bringup.calibration.cell import is_simulated
    from dp_bringup.calibration.estimate import CalibrationError

    if args.start == "true" and not is_simulated(contract):
        raise CalibrationError(f"--start true: {contract.name} is no simulated cell; start it with dp up teleop")
    starts = is_simulated(contract) and args.start != "false"
    names = ("sim_camera_delay", "sim_camera_jitter", "sim_command_delay", "sim_gripper_delay")
    asked = next((f"--{name.replace('_', '-')}" for name in names if getattr(args, name, 0.0)), None)
    if asked and (not starts or getattr(args, "bag", [])):
        raise CalibrationError(f"{asked}: only a simulated cell that is started here can be given a delay")
    return starts


def _camera(args: argparse.Namespace, contract: Contract, destination: Destination, folder: Path) -> None:
    from dp_bringup.calibration.camera_latency import DisplayLatency
    from dp_bringup.calibration.campaign import calibrate_cameras
    from dp_bringup.calibration.cell import SimulatedLatencies

    simulated = None
    if _starts(args, contract):
        simulated = SimulatedLatencies(
            camera_s=args.sim_camera_delay,
            camera_jitter_s=args.sim_camera_jitter,
            clock_code_period_s=args.sim_screen_period,
        )
    latency, uncertainty = (0.0, 0.0) if simulated else (0.010, 0.005)
    display = DisplayLatency(
        latency if args.display_latency is None else args.display_latency,
        uncertainty if args.display_uncertainty is None else args.display_uncertainty,
    )
    names = _names(args.cameras, contract)
    calibrate_cameras(destination, folder, simulated, names, args.pictures, display, args.hold, args.seed, args.json)


def _robot(args: argparse.Namespace, contract: Contract, destination: Destination, folder: Path) -> None:
    from dp_bringup.calibration.campaign import RobotSettings, calibrate_robot
    from dp_bringup.calibration.cell import SimulatedLatencies

    simulated = SimulatedLatencies(command_s=args.sim_command_delay) if _starts(args, contract) else None
    settings = RobotSettings(_wobble(args), _axes(args), _repeat(args), args.window, args.longest_lag, args.seed)
    calibrate_robot(destination, folder, simulated, settings, args.bag, args.yes, args.json)


def _gripper(args: argparse.Namespace, contract: Contract, destination: Destination, folder: Path) -> None:
    from dp_bringup.calibration.campaign import calibrate_gripper
    from dp_bringup.calibration.cell import SimulatedLatencies

    simulated = SimulatedLatencies(gripper_s=args.sim_gripper_delay) if _starts(args, contract) else None
    calibrate_gripper(destination, folder, simulated, args.steps, args.rest, args.seed, args.bag, args.yes, args.json)
