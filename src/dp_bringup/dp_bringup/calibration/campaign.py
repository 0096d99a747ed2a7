"""The three calibrations from a cell (or a bag) to the number in its contract."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from dp_core.contract import Contract, load_contract

from dp_bringup.calibration.camera_latency import DisplayLatency, estimate_camera
from dp_bringup.calibration.camera_run import simulated_screen, start_real_screen, watch_cameras
from dp_bringup.calibration.cell import LEAD_S, SETTLE_S, CalibrationSession, SimulatedLatencies, opened_cell
from dp_bringup.calibration.estimate import CalibrationError
from dp_bringup.calibration.excitation import Wobble, step_widths, wobble_poses
from dp_bringup.calibration.figures import plot_camera, plot_gripper, plot_robot
from dp_bringup.calibration.gripper_latency import estimate_gripper
from dp_bringup.calibration.outcome import Destination, finish
from dp_bringup.calibration.records import MotionRecord, record_of_bags
from dp_bringup.calibration.robot_latency import AXES, Span, axis_means, estimate_robot, spans_of
from dp_bringup.progress import bar
from dp_msgs.msg import CommandState

REST_BEFORE_S = 1.0
# A wobble is looked at from a little before it to when the arm has come to rest after it.
BEFORE_S, AFTER_S = 0.2, 0.3


@dataclass(frozen=True)
class RobotSettings:
    """How the arm is moved and its motion looked at; see `dp calibrate robot --help`."""

    wobble: Wobble = field(default_factory=Wobble)
    axes: tuple[str, ...] = AXES
    repeat: int = 2
    window_s: float = 8.0
    longest_s: float = 0.6
    seed: int = 0


def calibrate_cameras(
    destination: Destination,
    folder: Path,
    simulated: SimulatedLatencies | None,
    names: list[str],
    pictures: int,
    display: DisplayLatency,
    hold: int,
    seed: int,
    json_file: Path | None,
) -> None:
    """Measure the latency of cameras. Raises `CalibrationError`, `SessionError`."""
    contract = load_contract(destination.cell)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        opened_cell(destination.cell, folder, simulated, control=False, seed=seed) as session,
        bar(pictures * len(names), "pictures", "picture") as shown,
    ):
        if simulated is None:
            times = start_real_screen(session, folder, hold)
        else:
            times = partial(simulated_screen, simulated.clock_code_period_s)
        seen = watch_cameras(session, contract, names, pictures, lambda count: shown.update(count - shown.n))
        shown_at = times()
    estimates, plots, unread = [], [], {}
    for name, one in seen.items():
        sightings = one.sightings(shown_at)
        unread[name] = dict(one.problems)
        print(f"{name}: read {len(one.stamps)} of {one.pictures} pictures (not read: {one.describe()})")
        estimate = estimate_camera(name, sightings, one.pictures, display)
        plots.append(folder / f"camera_{name}.png")
        plot_camera(estimate, sightings, display, one.example, plots[-1])
        estimates.append(estimate)
    finish("calibrate camera", estimates, destination, plots, {"unread": unread}, json_file)


def calibrate_robot(
    destination: Destination,
    folder: Path,
    simulated: SimulatedLatencies | None,
    settings: RobotSettings,
    bags: Sequence[Path],
    confirmed: bool,
    json_file: Path | None,
) -> None:
    """Measure the latency of the arm. Raises `CalibrationError`, `SessionError`."""
    contract = load_contract(destination.cell)
    folder.mkdir(parents=True, exist_ok=True)
    if bags:
        motion, contract = record_of_bags(bags)
        record = motion.poses()
        spans = spans_of(record, settings.axes, settings.window_s, settings.longest_s)
    else:
        what = f"wobble by {settings.wobble.amplitude_m:g} m along {', '.join(settings.axes)} of {contract.base_frame}"
        _confirm(f"The arm will {what}.", simulated, confirmed)
        with opened_cell(destination.cell, folder, simulated, control=True, seed=settings.seed) as session:
            motion, spans = _wobble(session, contract, settings)
        record = motion.poses()
        spans = [replace(span, start_s=span.start_s - record.origin_s) for span in spans]
    estimate, windows = estimate_robot(record, contract, spans, settings.longest_s)
    plot = folder / "robot.png"
    plot_robot(estimate, record, windows, plot)
    means = axis_means(windows)
    print("by axis: " + ", ".join(f"{axis} {1e3 * value:.1f} ms" for axis, value in means.items()))
    by_axis = {f"{axis}_latency_s": value for axis, value in means.items()}
    finish("calibrate robot", [estimate], destination, [plot], by_axis, json_file)


def _wobble(
    session: CalibrationSession, contract: Contract, settings: RobotSettings
) -> tuple[MotionRecord, list[Span]]:
    """Move the arm; returns what happened, and where in it (ROS time) each wobble lies from rest to rest."""
    rng = np.random.default_rng(settings.seed)
    motion = _begun_record(session, contract)
    _hold(session)
    axes = settings.axes * settings.repeat
    times = settings.wobble.times()
    one_s = LEAD_S + float(times[-1]) + SETTLE_S
    spans = []
    same = np.random.default_rng(settings.seed)
    for axis in axes:  # refused before anything moves
        wobble_poses(settings.wobble, axis, session.commanded[0], contract, same)
    with bar(round(one_s * len(axes)), "wobble", "s") as shown:
        for number, axis in enumerate(axes):
            start, width = session.commanded
            poses = wobble_poses(settings.wobble, axis, start, contract, rng)
            on_time = partial(_show, shown, number * one_s)
            begin_s = session.execute(times, poses, np.full(len(times), width), on_time)
            spans.append(Span(axis, begin_s - BEFORE_S, BEFORE_S + float(times[-1]) + AFTER_S))
    session.hold()
    return motion, spans


def calibrate_gripper(
    destination: Destination,
    folder: Path,
    simulated: SimulatedLatencies | None,
    steps: int,
    rest_s: float,
    seed: int,
    bags: Sequence[Path],
    confirmed: bool,
    json_file: Path | None,
) -> None:
    """Measure the latency of the gripper. Raises `CalibrationError`, `SessionError`."""
    contract = load_contract(destination.cell)
    folder.mkdir(parents=True, exist_ok=True)
    if bags:
        motion, contract = record_of_bags(bags)
    else:
        _confirm(f"The gripper will open and close {steps} times; nothing may be in it.", simulated, confirmed)
        with opened_cell(destination.cell, folder, simulated, control=True, seed=seed) as session:
            motion = _steps(session, contract, steps, rest_s)
    record = motion.widths()
    estimate, fits = estimate_gripper(record, contract)
    plot = folder / "gripper.png"
    plot_gripper(estimate, record, fits, plot)
    good = [fit for fit in fits if not fit.problem]
    speed = float(np.median([fit.speed_m_s for fit in good]))
    print(
        f"{len(good)} of {len(fits)} steps; the fingers run at {speed:.3f} m/s (contract: {contract.gripper.speed_m_s})"
    )
    finish("calibrate gripper", [estimate], destination, [plot], {"speed_m_s": speed}, json_file)


def _steps(session: CalibrationSession, contract: Contract, steps: int, rest_s: float) -> MotionRecord:
    motion = _begun_record(session, contract)
    _hold(session)
    pose, width = session.commanded
    times, widths = step_widths(contract, width, steps, rest_s)
    with bar(round(LEAD_S + float(times[-1]) + SETTLE_S), "steps", "s") as shown:
        session.execute(times, np.tile(pose, (len(times), 1)), widths, partial(_show, shown, 0.0))
    session.hold()
    return motion


def _begun_record(session: CalibrationSession, contract: Contract) -> MotionRecord:
    """A record into which messages of all its streams have come."""
    motion = MotionRecord(contract)
    for topic in motion.topics:
        session.wait_for(partial(session.is_published, topic), 30.0, topic)
    motion.listen(session.inbox)
    session.wait_for(lambda: not motion.missing(), 30.0, ", ".join(motion.topics))
    return motion


def _hold(session: CalibrationSession) -> None:
    """Bring control into mode HOLD and let the arm come to rest."""
    session.set_mode(CommandState.HOLD)
    rested_s = session.now_s + REST_BEFORE_S
    session.wait_for(lambda: session.now_s > rested_s, 60.0, "the arm to come to rest")


def _show(shown: Any, begin_s: float, done_s: float) -> None:
    """Set a progress bar to the whole seconds that are done."""
    shown.update(max(0, int(begin_s + done_s) - shown.n))


def _confirm(what: str, simulated: SimulatedLatencies | None, confirmed: bool) -> None:
    """Ask before something real moves.

    Raises:
        CalibrationError: the answer is no, or nobody can be asked.
    """
    if simulated is not None or confirmed:
        return
    if not sys.stdin.isatty():
        raise CalibrationError(f"{what} Nobody can be asked here: say --yes when that is safe")
    try:
        answer = input(f"{what} Keep the stop at hand. Go on? [y/N] ")
    except EOFError:  # Ctrl-D
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise CalibrationError("not confirmed: nothing has moved")
