"""The gripper's latency from steps of its width. Pure.

A commanded step shows as a ramp: the fingers begin to move after the latency and run at a nearly constant speed. A
straight line is fitted to the middle of each ramp; where it leaves the width before the step is the onset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dp_core.contract import Contract
from numpy.typing import NDArray

from dp_bringup.calibration.estimate import (
    CalibrationError,
    LatencyEstimate,
    checked_delay,
    repeated_error,
    standard_error,
    without_outliers,
)

Array = NDArray[np.float64]

LEAST_STEPS = 3
# The part of a ramp that the line is fitted to: without the rounded begin and end.
RAMP_FROM, RAMP_TO = 0.2, 0.8
LEAST_SAMPLES = 4
# A step of which less than this arrives is no free motion: something is between the fingers.
LEAST_STROKE = 0.6
# Deviation from a straight line, share of the step, above which the ramp is none.
LARGEST_RESIDUAL = 0.05


@dataclass(frozen=True)
class WidthRecord:
    """What was commanded and what was measured, times corrected by the latencies of their streams.

    Attributes:
        command_s: (n,) rising.
        command_m: (n,) commanded width.
        measured_s: (m,) rising.
        measured_m: (m,) measured width.
    """

    command_s: Array
    command_m: Array
    measured_s: Array
    measured_m: Array


@dataclass(frozen=True)
class StepFit:
    """One step: when it was commanded, from and to which measured width, when and how fast the fingers ran.

    `residual` is the deviation of the ramp from its line (rms) as a share of the step, `problem` why it does not count.
    """

    commanded_s: float
    before_m: float
    after_m: float
    onset_s: float = float("nan")
    speed_m_s: float = float("nan")
    residual: float = float("nan")
    problem: str = ""

    @property
    def latency_s(self) -> float:
        """Onset after the command, s."""
        return self.onset_s - self.commanded_s


def fit_steps(record: WidthRecord) -> tuple[StepFit, ...]:
    """A fit for each change of the commanded width but those within 0.3 s of the record's ends."""
    changes = np.flatnonzero(np.abs(np.diff(record.command_m)) > 1e-6) + 1
    times = record.command_s[changes]
    ends = np.append(times[1:], record.measured_s[-1:])[: len(times)]
    period_s = float(np.median(np.diff(record.command_s)))
    fits = []
    for index, begin_s, end_s in zip(changes, times, ends, strict=True):
        if begin_s - 0.3 >= record.measured_s[0] and end_s - begin_s >= 0.3:
            asked = float(record.command_m[index] - record.command_m[index - 1])
            fit = _fit(record, float(begin_s), float(end_s), asked)
            if begin_s - record.command_s[index - 1] > 1.5 * period_s:
                fit = _refused(fit, "control's messages have a gap at its command")
            fits.append(fit)
    return tuple(fits)


def _fit(record: WidthRecord, begin_s: float, end_s: float, asked_m: float) -> StepFit:
    t_s, width = record.measured_s, record.measured_m
    before = float(np.median(width[(t_s >= begin_s - 0.3) & (t_s <= begin_s)]))
    inside = (t_s > begin_s) & (t_s <= end_s)
    times, widths = t_s[inside], width[inside]
    after = float(np.median(widths[-max(3, len(widths) // 5) :]))
    step = StepFit(begin_s, before, after)
    if abs(after - before) < LEAST_STROKE * abs(asked_m) or (after - before) * asked_m < 0.0:
        return _refused(step, f"moved by {1e3 * (after - before):.1f} of {1e3 * asked_m:.1f} mm")
    share = (widths - before) / (after - before)
    # The ramp is what lies between the last sample below and the first above, so that noise at rest is none of it.
    first = int(np.flatnonzero(share > RAMP_TO)[0])
    low = np.flatnonzero(share[:first] < RAMP_FROM)
    ramp = slice(int(low[-1]) + 1 if len(low) else 0, first)
    if ramp.stop - ramp.start < LEAST_SAMPLES:
        return _refused(step, f"{ramp.stop - ramp.start} samples of its ramp; {LEAST_SAMPLES} are needed")
    slope, offset = np.polyfit(times[ramp] - begin_s, widths[ramp], 1)
    residual = widths[ramp] - (offset + slope * (times[ramp] - begin_s))
    rms = float(np.sqrt(np.mean(residual**2)) / abs(after - before))
    onset = begin_s + (before - offset) / slope
    problem = "" if rms <= LARGEST_RESIDUAL else f"its ramp deviates from a line by {100 * rms:.0f} % of the step"
    return StepFit(begin_s, before, after, float(onset), abs(float(slope)), rms, problem)


def _refused(step: StepFit, problem: str) -> StepFit:
    return StepFit(step.commanded_s, step.before_m, step.after_m, problem=problem)


def estimate_gripper(record: WidthRecord, contract: Contract) -> tuple[LatencyEstimate, tuple[StepFit, ...]]:
    """The latency of the gripper: mean over the steps that moved freely.

    Raises:
        CalibrationError: fewer than `LEAST_STEPS` good steps; says what was wrong with the others.
    """
    fits = fit_steps(record)
    good = [fit for fit in fits if not fit.problem]
    if len(good) < LEAST_STEPS:
        problems = "; ".join(fit.problem for fit in fits if fit.problem) or "no change of the commanded width"
        raise CalibrationError(
            f"{len(good)} good steps of the gripper, at least {LEAST_STEPS} are needed ({problems}): "
            "is something between the fingers, or its state published too slowly?"
        )
    latencies = np.array([fit.latency_s for fit in good])
    latencies = latencies[without_outliers(latencies)]
    opening = [fit.latency_s for fit in good if fit.after_m > fit.before_m]
    closing = [fit.latency_s for fit in good if fit.after_m < fit.before_m]
    note = ""
    if opening and closing:
        note = f"opening {1e3 * np.mean(opening):.1f} ms, closing {1e3 * np.mean(closing):.1f} ms"
    spread_s = repeated_error(standard_error(latencies), record.measured_s, len(latencies))
    estimate = LatencyEstimate(
        place=("gripper",),
        latency_s=checked_delay("the gripper", float(latencies.mean()), spread_s),
        samples_s=latencies,
        statistical_s=spread_s,
        systematic_s={"latency of gripper state": contract.streams["gripper"].latency_uncertainty_s},
        quality=("good_steps", len(good) / len(fits)),
        note=note,
    )
    return estimate, fits
