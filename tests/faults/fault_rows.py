"""Measures what the arm was told to do during a fault, and keeps one row of the table for each fault."""

import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from dp_bringup.fault_checker import LONGEST_STEP, NAMES
from dp_bringup.measured_motion import QUANTITIES, AllowedRegion, limit_values, motion_rates
from dp_ros.messages import stamp_to_ns

from dp_msgs.msg import CommandState

SENDING = (CommandState.HOLD, CommandState.TELEOP, CommandState.POLICY)
TOLERANCE = 1e-6
# A step that makes up for missed periods joins rotations that do not commute.
TOLERANCE_TURNS = 0.03
HEADER = (
    "| fault | what the arm did | v | a | jerk | outside | how it went on | s |\n|---|---|---|---|---|---|---|---|\n"
)


@dataclass
class Row:
    """One line of the table; shares of the limits, the larger of linear and angular."""

    fault: str
    did: str
    velocity: float
    acceleration: float
    jerk: float
    depth: float
    recovery: str
    seconds: float

    def markdown(self):
        shares = " | ".join(f"{100 * share:.0f} %" for share in (self.velocity, self.acceleration, self.jerk))
        outside = "none" if self.depth <= 1e-6 else f"{1000 * self.depth:.1f} mm"
        return f"| {self.fault} | {self.did} | {shares} | {outside} | {self.recovery} | {self.seconds:.1f} |\n"


class Watch:
    """Everything that control sent and said from now on, judged by finite differences over the header stamps.

    Begin it while the arm is at rest. `clock_step_ns`: by how much a test has set the clock meanwhile. `kills`: how
    often a test has killed control, which may have come between a command and its state.
    """

    def __init__(self, cell, contract=None):
        self.cell, self.contract = cell, contract or cell.contract
        self._states, self._targets = len(cell.states), len(cell.targets)
        self.clock_step_ns, self.kills = 0, 0
        self.mark()
        self.period_ns = self.contract.control.period_ns

    def mark(self):
        """The fault comes now: the story begins here."""
        self._marked, self._began = max(len(self.cell.states) - 1, 0), time.monotonic()
        self._marked_ns = self.cell.now_ns()
        self.cell.late_s = 0.0

    def late_s(self):
        """For how long, since the mark, the rest of the cell or control itself did not run: the machine's fault."""
        stamps = [stamp_to_ns(state.header.stamp) for state in self.since_mark]
        gaps = [b - a for a, b in pairwise(stamps)]
        return max(self.cell.late_s, 1e-9 * (max(gaps, default=0) - self.period_ns))

    @property
    def states(self):
        return self.cell.states[self._states :]

    @property
    def since_mark(self):
        return self.cell.states[self._marked :]

    def story(self):
        """Modes since the fault, in order."""
        modes = [state.mode for state in self.since_mark]
        return ", ".join(NAMES[m] for i, m in enumerate(modes) if i == 0 or m != modes[i - 1])

    def reaction(self):
        """When control noticed, and when the arm was at rest, since the fault; call it at rest."""
        parts, noticed = [], None
        for state in self.since_mark:
            after = 1e-9 * (stamp_to_ns(state.header.stamp) - self._marked_ns)
            if noticed is None and (state.mode not in SENDING or not state.input_alive):
                noticed = after
                parts.append(f"{NAMES[state.mode] if state.mode not in SENDING else 'brakes'} after {after:.2f} s")
            v, w = state.commanded_twist.linear, state.commanded_twist.angular
            if noticed is not None and not any((v.x, v.y, v.z, w.x, w.y, w.z)):
                return ", ".join([*parts, f"at rest {after - noticed:.2f} s later"])
        raise AssertionError(f"the arm never came to rest: {self.story()}")

    def _commands(self):
        """(stamp, pose) of all commands in order; each state of a sending mode has its command, and none is missing."""
        heard, commands = self.states, self.cell.targets[self._targets :]  # more come while this is judged
        states = {stamp_to_ns(s.header.stamp): s for s in heard}
        order = list(states)
        assert len(order) == len(heard), "two states with one stamp"
        # The two topics are two queues: what was under way at the edges of the watch is not missing, and what one
        # has brought up to now the other brings soon.
        missing, stray = self._unmatched(heard, commands)
        deadline = time.monotonic() + 10.0
        while (missing or len(stray) > self.kills) and time.monotonic() < deadline:
            time.sleep(0.05)
            missing, stray = self._unmatched(heard, commands)
        assert not missing, f"{len(missing)} states have no command: lost messages?"
        assert len(stray) <= self.kills, f"{len(stray)} commands have no state: lost messages?"
        targets = [(t, pose) for t, pose in self.cell.targets[self._targets :] if t in states]
        for t, pose in targets:
            p = states[t].commanded_pose.position
            assert np.allclose([p.x, p.y, p.z], pose[:3], atol=1e-12), "the state reports another command"
        return targets

    def _unmatched(self, heard, commands):
        """Stamps of states that have no command up to now, and of commands that have no state."""
        sent = {t for t, _ in self.cell.targets[self._targets :]}
        told = {stamp_to_ns(s.header.stamp) for s in self.states}
        sending = [stamp_to_ns(s.header.stamp) for s in heard[1:-1] if s.mode in SENDING]
        return [t for t in sending if t not in sent], [t for t, _ in commands[1:-2] if t not in told]

    def judge(self):
        """Worst share of each limit (6,) and depth outside the region; raises where a limit is broken."""
        self.cell.wait(lambda: len(self.states) > 3, "states to judge")
        limits, region = limit_values(self.contract.limits), AllowedRegion(self.contract)
        worst, depth = np.zeros(6), 0.0
        for ticks, poses, start in self._stretches(self._commands(), limits[0]):
            rates = motion_rates(ticks, poses, 1e-9 * self.period_ns, start)
            shares = rates.norms / limits
            several = np.convolve(np.diff(ticks, prepend=-1) > 1, np.ones(4))[: len(ticks)] > 0
            tolerance = np.where(several[:, None] & (np.arange(6) >= 3), TOLERANCE_TURNS, TOLERANCE)
            for i, q in np.argwhere(shares > 1.0 + tolerance):
                near = slice(max(i - 3, 0), i + 4)
                raise AssertionError(
                    f"{QUANTITIES[q]} {rates.norms[i, q]:.4g}, limit {limits[q]} at command {i} of {len(ticks)}; "
                    f"ticks {ticks[near].tolist()}, poses {poses[near].tolist()}, from {start.tolist()}; {self.story()}"
                )
            worst = np.maximum(worst, shares.max(axis=0))
            depth = max(depth, float((region.depths(poses) - np.maximum(region.depths(start[None])[0], 0.0)).max()))
        assert depth <= 1e-6, f"{depth} outside the region"
        return worst, depth

    def _stretches(self, commands, speed):
        """Commands from rest to rest: ticks, poses and the pose at rest before them.

        A pause of the loop and a stop end a stretch; the next one begins no farther away than the arm could have gone.
        """
        ticks, poses, start = [0], [commands[0][1]], commands[0][1]
        for (a, before), (b, pose) in pairwise(commands):
            gap = (b - a) / self.period_ns
            if self.clock_step_ns and abs(gap - self.clock_step_ns / self.period_ns - 1) < LONGEST_STEP:
                gap -= self.clock_step_ns / self.period_ns
            way, seconds = float(np.linalg.norm(pose[:3] - before[:3])), 1e-9 * gap * self.period_ns
            assert way <= abs(seconds) * speed + 1e-3, f"a jump by {way:.4f} m in {seconds:.3f} s{self._around(a, b)}"
            if gap > LONGEST_STEP + 0.5:
                yield np.array(ticks), np.array(poses), start
                # After a pause of the loop the motion goes on from the last command, after a stop from a new one.
                stopped = any(a < stamp_to_ns(s.header.stamp) < b and s.mode not in SENDING for s in self.states)
                ticks, poses, start = [0], [pose], pose if stopped else before
                continue
            # Where a simulated clock was set back, control counts one period.
            ticks.append(ticks[-1] + max(1, round(gap)))
            poses.append(pose)
        yield np.array(ticks), np.array(poses), start

    def _around(self, a, b):
        """What control said between two commands."""
        lines = dict.fromkeys(f"{NAMES[s.mode]} {s.text}" for s in self.states if a <= stamp_to_ns(s.header.stamp) <= b)
        return "".join(f"; {line}" for line in lines)

    def row(self, fault, did, recovery):
        """Judge, and make the line of the table."""
        worst, depth = self.judge()
        shares = np.maximum(worst[:3], worst[3:])
        return Row(fault, did, *map(float, shares), depth, recovery, time.monotonic() - self._began)
