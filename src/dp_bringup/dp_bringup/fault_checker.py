"""Judges what control sent in a fault episode, by rules written anew from the contract and the table of modes.

Nothing here asks control whether it behaved: the rules see the commands, the modes, and what was delivered to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from dp_core.contract import Contract
from numpy.typing import NDArray

from dp_bringup.fault_trace import FAULT, HOLD, NAMES, POLICY, STOPPED, TELEOP, Trace, Violation
from dp_bringup.measured_motion import QUANTITIES, AllowedRegion, MotionRates, limit_values, motion_rates

Array = NDArray[np.float64]

RUNNING = (HOLD, TELEOP, POLICY)
#: Mode changes that no request explains: takeover, lost input, fault.
_BY_ITSELF = {(POLICY, TELEOP), (TELEOP, HOLD), (POLICY, HOLD)} | {(mode, FAULT) for mode in RUNNING}
#: A pause of the loop longer than this many periods ends the motion: it goes on from rest.
LONGEST_STEP = 3
#: A request is obeyed within this time or not at all, s.
PATIENCE_S = {"request": 2.2, "resume": 10.2}
#: A command is taken back to a blocked arm for this long at most, and a cycle or two, s.
YIELD_S = 2.05
#: A hand on the SpaceMouse has the arm within this time, s.
TAKEOVER_S = 0.05
#: Rounding: share of a limit, and of steps that are made of several periods (rotations do not commute).
TOLERANCE = 1e-6
TOLERANCE_TURNS = 0.03
REST_M, REST_RAD = 1e-9, 1e-8
REGION_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Verdict:
    """Broken rules, and the worst share of each limit that was reached (order of QUANTITIES); depth in m or rad."""

    violations: tuple[Violation, ...]
    shares: Array
    depth: float


def stopping_time_s(contract: Contract) -> float:
    """Time within which a stop from any allowed motion must end: thrice the ideal one, as walls bend it, and a bit."""
    v = limit_values(contract.limits)
    ideal = max(v[0] / v[1] + 2.0 * v[1] / v[2], v[3] / v[4] + 2.0 * v[4] / v[5])
    return float(3.0 * ideal + 8.0 / contract.control.rate_hz)


def check(trace: Trace, contract: Contract, seed: int) -> Verdict:
    """Apply every rule."""
    checker = _Checker(trace, contract, seed)
    found = [
        *checker.values(), *checker.motion(), *checker.modes(), *checker.requests(), *checker.silence(),
        *checker.rest(), *checker.detection(), *checker.plan_time(),
    ]  # fmt: skip
    return Verdict(tuple(found), checker.shares, checker.depth)


class _Checker:
    """One trace; each method yields the violations of its rules, one of a kind for each stretch of motion."""

    def __init__(self, trace: Trace, contract: Contract, seed: int) -> None:
        self._trace, self._contract, self._seed = trace, contract, seed
        self._period_s = 1.0 / contract.control.rate_hz
        self._sent = ~np.isnan(trace.pose[:, 0])
        self.shares = np.zeros(6)
        self.depth = 0.0

    def _found(self, rule: str, i: int, value: float, limit: float, text: str = "") -> Violation:
        trace = self._trace
        where = f"in {NAMES[int(trace.mode[i])]} at step {i} {text}".rstrip()
        return Violation(rule, self._seed, float(trace.tick[i] * self._period_s), float(value), float(limit), where)

    def _first(
        self, rule: str, bad: NDArray[np.bool_], values: Array, limit: float, text: str = ""
    ) -> Iterator[Violation]:
        if np.any(bad):
            i = int(np.argmax(bad))
            yield self._found(rule, i, values[i], limit, text)

    def values(self) -> Iterator[Violation]:
        """What is sent is finite, with unit quaternions and a width that the gripper has."""
        trace, gripper = self._trace, self._contract.gripper
        wrong = self._sent & ~np.all(np.isfinite(trace.pose), axis=1) | ~np.all(np.isfinite(trace.twist), axis=1)
        yield from self._first("finite", wrong, wrong.astype(float), 0.0)
        norms = np.abs(np.linalg.norm(trace.pose[:, 3:], axis=1) - 1.0)
        yield from self._first("unit_quaternion", self._sent & ~(norms <= 1e-6), norms, 1e-6)
        outside = np.maximum(gripper.min_width_m - trace.width, trace.width - gripper.max_width_m)
        yield from self._first("gripper_width", ~(outside <= 1e-9), outside, 0.0)

    def _segments(self) -> Iterator[tuple[NDArray[np.int64], Array, int]]:
        """Stretches of motion from rest: indices of the steps, the pose they start from, and the index of its entry."""
        trace, entry = self._trace, -1
        part: list[int] = []
        start = np.full(7, np.nan)
        for i in map(int, np.flatnonzero(self._sent)):
            entered = trace.mode[i] in RUNNING and (i == 0 or trace.mode[i - 1] not in RUNNING)
            paused = bool(part) and trace.tick[i] - trace.tick[i - 1] > LONGEST_STEP
            silent = bool(part) and part[-1] != i - 1
            if entered or paused or silent:
                if part:
                    yield np.array(part), start, entry
                start = trace.start[i] if entered else trace.pose[part[-1]]
                entry, part = (int(i) if entered else entry), []
            part.append(i)
        if part:
            yield np.array(part), start, entry

    def motion(self) -> Iterator[Violation]:
        """No limit and no wall is broken; a motion starts at rest where the arm was measured."""
        trace, limits = self._trace, limit_values(self._contract.limits)
        region = AllowedRegion(self._contract)
        allowed, entry_of = np.zeros(len(region.names)), None
        for steps, start, entry in self._segments():
            signs = np.concatenate([[1.0], np.sum(trace.pose[steps[1:], 3:] * trace.pose[steps[:-1], 3:], axis=1)])
            if np.any(signs < 0.0):
                i = int(np.argmax(signs < 0.0))
                yield self._found("quaternion_sign", int(steps[i]), signs[i], 0.0)
            rates = motion_rates(trace.tick[steps], trace.pose[steps], self._period_s, start)
            shares = rates.norms / limits
            self.shares = np.maximum(self.shares, shares.max(axis=0))
            yield from self._over(steps, shares, rates.norms, limits)
            yield from self._reported(steps, rates)
            if entry != entry_of:  # a pause of the loop does not move the walls
                allowed, entry_of = np.maximum(region.depths(start[None])[0], 0.0), entry
            depths = region.depths(trace.pose[steps]) - allowed
            self.depth = max(self.depth, float(depths.max()))
            for rule in np.flatnonzero(depths.max(axis=0) > REGION_TOLERANCE):
                i = int(np.argmax(depths[:, rule] > REGION_TOLERANCE))
                yield self._found(f"region {region.names[rule]}", int(steps[i]), depths[:, rule].max(), 0.0)

    def _over(self, steps: NDArray[np.int64], shares: Array, norms: Array, limits: Array) -> Iterator[Violation]:
        gaps = np.diff(self._trace.tick[steps], prepend=self._trace.tick[steps[0]] - 1)
        several = np.convolve(gaps > 1, np.ones(4), mode="full")[: len(steps)] > 0
        tolerance = np.full(shares.shape, TOLERANCE)
        tolerance[several, 3:] = TOLERANCE_TURNS
        for quantity in range(6):
            bad = shares[:, quantity] > 1.0 + tolerance[:, quantity]
            if np.any(bad):
                worst = int(np.argmax(np.where(bad, shares[:, quantity], 0.0)))
                yield self._found(QUANTITIES[quantity], int(steps[worst]), norms[worst, quantity], limits[quantity])

    def _reported(self, steps: NDArray[np.int64], rates: MotionRates) -> Iterator[Violation]:
        """The reported velocity is that of the commands, to within what the acceleration can change in a step."""
        limits = limit_values(self._contract.limits)
        gaps = np.diff(self._trace.tick[steps], prepend=self._trace.tick[steps[0]] - 1) * self._period_s
        for part, acceleration in ((slice(0, 3), limits[1]), (slice(3, 6), limits[4])):
            error = np.linalg.norm(self._trace.twist[steps, part] - rates.twists[:, part], axis=1)
            bad = error > 1.05 * acceleration * gaps + 1e-6
            if np.any(bad):
                i = int(np.argmax(bad))
                yield self._found("reported_twist", int(steps[i]), error[i], acceleration * gaps[i])

    def modes(self) -> Iterator[Violation]:
        """Modes change as the table allows, and for a reason."""
        trace = self._trace
        before = np.concatenate([[STOPPED], trace.mode[:-1]])
        for i in map(int, np.flatnonzero(before != trace.mode)):
            old, new = int(before[i]), int(trace.mode[i])
            if (old, new) in _BY_ITSELF:
                continue
            asked = self._since(trace.request == new, i)
            resumed = self._since(trace.resume, i)
            by_request = asked <= PATIENCE_S["request"] and not (old == FAULT and new != STOPPED)
            by_resume = resumed <= PATIENCE_S["resume"] and new == HOLD and old in (STOPPED, FAULT)
            stopping = new == STOPPED and np.isfinite(asked)  # however long the arm brakes
            # A hand on the SpaceMouse takes over in the very cycle in which POLICY begins.
            taken = new == TELEOP and trace.hand[i] and self._since(trace.request == POLICY, i) <= PATIENCE_S["request"]
            if not (by_request or by_resume or stopping or (taken and old != FAULT)):
                yield self._found("transition", int(i), min(asked, resumed), 0.0, f"from {NAMES[old]} to {NAMES[new]}")

    def _since(self, events: NDArray[np.bool_], i: int) -> float:
        """Seconds of virtual time from the last event until step ``i``; infinite without one."""
        found = np.flatnonzero(events[: i + 1])
        return float(self._trace.tick[i] - self._trace.tick[found[-1]]) * self._period_s if len(found) else np.inf

    def requests(self) -> Iterator[Violation]:
        """A stop that was asked for is reached within the stopping time, whatever else happens."""
        trace = self._trace
        yielding = self._yielding()
        for i in map(int, np.flatnonzero(trace.request == STOPPED)):
            reached = np.flatnonzero(trace.mode[i:] == STOPPED)
            end = i + int(reached[0]) if len(reached) else len(trace.mode) - 1
            # A step of a paused loop is one step, however long.
            took = float(np.minimum(np.diff(trace.tick[i : end + 1]), LONGEST_STEP).sum()) * self._period_s
            limit = stopping_time_s(self._contract) + YIELD_S * bool(np.any(yielding[i : end + 1]))
            if took > limit:
                yield self._found("stop_reached", end, took, limit)
                return

    def silence(self) -> Iterator[Violation]:
        """Running modes send in each step; STOPPED sends nothing."""
        running = np.isin(self._trace.mode, RUNNING)
        missing = running & ~self._sent
        yield from self._first("sends_while_running", missing, missing.astype(float), 0.0)
        stray = (self._trace.mode == STOPPED) & self._sent
        yield from self._first("sends_while_stopped", stray, stray.astype(float), 0.0)

    def _moving(self) -> NDArray[np.bool_]:
        pose = self._trace.pose
        both = self._sent & np.concatenate([[False], self._sent[:-1]])
        step = np.linalg.norm(np.diff(pose[:, :3], axis=0, prepend=pose[:1, :3]), axis=1)
        turn = np.linalg.norm(np.diff(pose[:, 3:], axis=0, prepend=pose[:1, 3:]), axis=1)
        entered = np.isin(self._trace.mode, RUNNING) & ~np.isin(
            np.concatenate([[STOPPED], self._trace.mode[:-1]]), RUNNING
        )
        return np.asarray(both & ~entered & ((step > REST_M) | (turn > REST_RAD)))

    def rest(self) -> Iterator[Violation]:
        """Without a cause of motion the arm is at rest after the stopping time."""
        trace = self._trace
        fresh_ns = round(1e9 * self._contract.control.input_max_age_s)
        released = {mode: ~trace.held & (mode in self._contract.safety.dead_man) for mode in ("teleop", "policy")}
        driven = (trace.mode == TELEOP) & (trace.t_ns - trace.twist_ns <= fresh_ns) & ~released["teleop"]
        driven |= (trace.mode == POLICY) & (trace.plan_end_ns > np.iinfo(np.int64).min) & ~released["policy"]
        driven |= self._yielding()
        elapsed = self._elapsed()
        last = np.maximum.accumulate(np.where(driven, elapsed, 0.0))
        limit = stopping_time_s(self._contract)
        late = self._moving() & (elapsed - last > limit)
        yield from self._first("rest_after_loss", late, elapsed - last, limit)

    def _yielding(self) -> NDArray[np.bool_]:
        """A blocked or pushed arm's command is taken back to where the arm was, for two seconds at most."""
        trace, contract = self._trace, self._contract
        inside = trace.mode == FAULT
        entered = inside & ~np.concatenate([[False], inside[:-1]])
        metres, turned = _separations(trace.pose, trace.measured)
        far = (metres > 0.5 * contract.control.track_error_m) | (turned > 0.5 * contract.safety.track_error_rad)
        cause = entered & (far | (trace.contact_s > 0.0))
        since = np.maximum.accumulate(np.where(cause, trace.t_ns, np.iinfo(np.int64).min))
        return np.asarray(inside & (trace.t_ns - np.maximum(since, 0) <= 1e9 * YIELD_S))

    def detection(self) -> Iterator[Violation]:
        """Stale robot state, contact and a clock that goes back end the running modes; lost inputs end theirs."""
        trace, contract = self._trace, self._contract
        running = np.isin(trace.mode, RUNNING)
        none = np.iinfo(np.int64).min
        age = np.where(trace.measured_ns > none, (trace.t_ns - np.maximum(trace.measured_ns, 0)) * 1e-9, 0.0)
        limit = contract.control.state_max_age_s + 1.5 * self._period_s
        yield from self._first("stale_state_is_a_fault", running & (age > limit), age, limit)
        limit = contract.safety.contact_time_s + 0.05
        yield from self._first("contact_is_a_fault", running & (trace.contact_s > limit), trace.contact_s, limit)
        back = np.diff(trace.t_ns, prepend=trace.t_ns[0]) * 1e-9
        waits = self._hand_waits()
        yield from self._first("takeover", waits > TAKEOVER_S + 1e-9, waits, TAKEOVER_S)
        before = np.concatenate([trace.pose[:1], trace.pose[:-1]])
        follows = running & np.concatenate([[False], running[:-1]])
        metres, turned = _separations(before, trace.measured)
        far = follows & ((metres > contract.control.track_error_m) | (turned > contract.safety.track_error_rad + 1e-6))
        yield from self._first("blocked_is_a_fault", far, metres, contract.control.track_error_m)
        yield from self._first("clock_back_is_a_fault", running & (back < -0.1), back, -0.1)
        lost_s = contract.safety.input_lost_s + contract.control.input_max_age_s
        for mode, newest in ((TELEOP, trace.twist_ns), (POLICY, trace.plan_end_ns)):
            # Without a plan since the mode began, control waits at rest.
            had = none if mode == TELEOP else self._at_entry(newest, POLICY)
            inside = (trace.mode == mode) & (newest > had)
            since = np.where(inside, trace.t_ns - np.maximum(newest, self._at_entry(trace.t_ns, mode)), 0) * 1e-9
            limit = lost_s + 1.0 + 3 * self._period_s
            yield from self._first("lost_input_ends_the_mode", since > limit, since, limit)

    def _hand_waits(self) -> Array:
        """(n,) s for which a hand on the SpaceMouse has waited for the policy to give way."""
        trace, safety = self._trace, self._contract.safety
        age_s = 1e-9 * (trace.t_ns - np.maximum(trace.twist_ns, 0))
        fresh = (age_s >= 0.0) & (age_s <= self._contract.control.input_max_age_s)
        waits = (trace.mode == POLICY) & trace.hand & fresh
        waits &= safety.takeover & (trace.held | ("teleop" not in safety.dead_man))
        asked = np.maximum.accumulate(np.where(trace.request == STOPPED, np.arange(len(waits)), -1))
        reached = np.maximum.accumulate(np.where(trace.mode == STOPPED, np.arange(len(waits)), -1))
        waits &= asked <= reached  # a stop that is under way is not for anybody to take over
        elapsed = self._elapsed()
        return np.asarray(elapsed - np.maximum.accumulate(np.where(waits, 0.0, elapsed)))

    def _elapsed(self) -> Array:
        """(n,) s that the loop has run; a pause counts no more than it is made up for."""
        steps = np.minimum(np.diff(self._trace.tick, prepend=self._trace.tick[0]), LONGEST_STEP)
        return np.asarray(np.cumsum(steps) * self._period_s)

    def _at_entry(self, values: NDArray[np.int64], mode: int) -> NDArray[np.int64]:
        """(n,) what a rising quantity was when the mode last began; the least number before."""
        inside = self._trace.mode == mode
        entered = inside & ~np.concatenate([[False], inside[:-1]])
        return np.asarray(np.maximum.accumulate(np.where(entered, values, np.iinfo(np.int64).min)))

    def plan_time(self) -> Iterator[Violation]:
        """Along a plan that only advances, the command never goes back: the past is not played again."""
        along = self._trace.along
        ok = np.isfinite(along) & (self._trace.mode == POLICY)
        both = ok & np.concatenate([[False], ok[:-1]])
        back = -np.diff(along, prepend=along[:1])
        yield from self._first("plan_goes_back", both & (back > 1e-4), back, 1e-4)


def _separations(a: Array, b: Array) -> tuple[Array, Array]:
    """Distances (n,) m and angles (n,) rad between poses (n, 7); NaN where there is none."""
    cosine = np.abs(np.sum(a[:, 3:] * b[:, 3:], axis=1)) / np.linalg.norm(b[:, 3:], axis=1)
    return np.linalg.norm(a[:, :3] - b[:, :3], axis=1), 2.0 * np.arccos(np.minimum(cosine, 1.0))
