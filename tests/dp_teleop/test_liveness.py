"""What the spacenav node and an old daemon show after the cable was pulled, and what a hand does."""

import numpy as np
import pytest
from dp_core.teleop_spec import TeleopSpec
from dp_teleop.liveness import LivenessState, watch_liveness
from dp_teleop.sample import SpaceMouseSample

SPEC = TeleopSpec(clutch_button=1, frozen_s=2.0, hold_confirm_s=10.0)


def watch(readings, spec=SPEC, period_s=0.1):
    """When (s) the readings (axis, clutch) count as those of a lost device."""
    state, lost = LivenessState(), []
    for tick, (axis, clutch) in enumerate(readings):
        sample = SpaceMouseSample(round(1e9 * (50 + tick * period_s)), np.array([axis] + [0.0] * 5), (False, clutch))
        state, problem = watch_liveness(state, sample, spec)
        if problem:
            lost.append(round(tick * period_s, 6))
    return lost


@pytest.mark.parametrize(
    ("readings", "lost_s"),
    [
        ([(0.0, True)] * 120, 10.0),  # a held clutch, nothing else
        ([(0.0, True)] * 60 + [(0.01, True)] + [(0.0, True)] * 120, 16.1),  # touched once
        ([(0.4, True)] * 30, 2.0),  # zero_when_static: false
        ([(0.4, False)] * 30, 2.0),
        ([(0.0, False)] * 300, None),  # nobody there
        ([(0.4 + 0.01 * (n % 2), True) for n in range(300)], None),  # a hand trembles
    ],
)
def test_a_reading_that_cannot_be_a_hand(readings, lost_s):
    lost = watch(readings)
    assert lost == [] if lost_s is None else lost[0] == pytest.approx(lost_s)


def test_it_stays_lost_until_something_changes():
    lost = watch([(0.0, True)] * 200 + [(0.0, False)] + [(0.0, True)] * 50)
    assert lost == [pytest.approx(10.0 + 0.1 * n) for n in range(100)]


def test_zero_switches_it_off():
    spec = TeleopSpec(clutch_button=1, frozen_s=0.0, hold_confirm_s=0.0)
    assert watch([(0.4, True)] * 300, spec) == watch([(0.0, True)] * 300, spec) == []


def test_a_clock_that_is_set_back_starts_the_time_anew():
    state, _ = watch_liveness(LivenessState(), SpaceMouseSample(90_000_000_000, np.full(6, 0.3), (False, True)), SPEC)
    state, problem = watch_liveness(state, SpaceMouseSample(1_000_000_000, np.full(6, 0.3), (False, True)), SPEC)
    assert problem == "" and state.changed_ns == 1_000_000_000
