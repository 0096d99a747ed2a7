"""The rules of each method on made-up chunks, by hand. Times in ms; a plan advances along x by 10 mm per action."""

from dataclasses import replace

import numpy as np
import pytest
from dp_bringup.latency_benchmark.baselines import DropLateSplice, Ensembled, StopAndWait, Uncompensated
from dp_bringup.latency_benchmark.methods import Arrival, Compensated
from dp_bringup.latency_benchmark.weighted_queue import WeightedQueue, merge
from dp_core.actions import encode_action
from dp_core.contract import load_contract

CONTRACT = load_contract("sim_franka")
START = np.array([0.5, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0])
STEPS = 8
MS = 1_000_000


def actions_from(x_mm, n=16, step_mm=10.0, width=0.08):
    poses = np.tile(START, (n, 1))
    poses[:, 0] = 0.5 + 1e-3 * (x_mm + step_mm * np.arange(n))
    return encode_action(poses, width).astype(np.float32)


class Driver:
    """Runs a method with a perfect arm at 100 Hz, chunks handed in at given times."""

    def __init__(self, method):
        self.method, self.t_ms, self.pose = method, 0, START.copy()
        self.x_mm, self.widths = {}, []

    def until(self, end_ms, chunks=(), begin_ms=None):
        waiting = sorted(chunks, key=lambda item: item[0])
        while self.t_ms < end_ms:
            if self.t_ms == begin_ms:
                self.method.begin(self.t_ms * MS)
            while waiting and waiting[0][0] <= self.t_ms:
                _, observed_ms, actions = waiting.pop(0)
                self.method.take(Arrival(0, observed_ms * MS, actions), self.t_ms * MS)
            command = self.method.command(self.t_ms * MS, self.pose, 0.08)
            if command.pose is not None:
                self.pose = command.pose
            if command.width is not None:
                self.widths.append((self.t_ms, command.width))
            self.x_mm[self.t_ms] = 1e3 * (self.pose[0] - 0.5)
            self.t_ms += 10
        return self


def test_without_compensation_a_chunk_begins_with_action_0_on_arrival():
    driver = Driver(Uncompensated(CONTRACT, STEPS)).until(600, [(400, 0, actions_from(0.0))], begin_ms=0)
    assert driver.x_mm[400] == 0.0
    # Action 0 belongs to 420 ms, two control periods after the arrival, and not to the observation's time.
    assert driver.x_mm[520] == pytest.approx(10.0, abs=1e-3) and driver.x_mm[570] == pytest.approx(15.0, abs=1e-3)
    assert driver.method.tally.late == 0


def test_without_compensation_the_arm_goes_back_to_where_the_chunk_was_observed():
    first, second = (80, 0, actions_from(0.0)), (800, 400, actions_from(30.0))
    driver = Driver(Uncompensated(CONTRACT, STEPS)).until(1000, [first, second], begin_ms=0)
    assert driver.x_mm[800] == pytest.approx(70.0, abs=0.1)
    # Action 1 after action 0, which the speed limit left no time to reach.
    assert driver.x_mm[920] == pytest.approx(40.0, abs=0.1)
    assert driver.method.tally.seams == [(pytest.approx(0.04, abs=1e-4), pytest.approx(0.0, abs=1e-6))]


def test_stop_and_wait_executes_ta_actions_stands_and_only_then_looks():
    method = StopAndWait(CONTRACT, STEPS)
    assert ask(method, 0, busy=False) == 0 and ask(method, 0, busy=True) is None
    driver = Driver(method).until(1500, [(400, 0, actions_from(0.0))], begin_ms=0)
    # Action 0 belongs to 420 ms and the last of the eight to 1120 ms, 70 mm on.
    assert [driver.x_mm[t] for t in (520, 1120, 1490)] == pytest.approx([10.0, 70.0, 70.0], abs=1e-3)
    assert ask(method, 1110, busy=False) is None
    assert ask(method, 1120, busy=False) == 1120 * MS and ask(method, 1120, busy=True) is None
    assert method.tally.hold_periods == 37 and method.tally.late == 0


def test_splice_drops_what_is_late_and_keeps_absolute_times():
    driver = Driver(DropLateSplice(CONTRACT, STEPS)).until(800, [(190, 0, actions_from(0.0))], begin_ms=0)
    # At 190 ms the actions of 0 and 100 ms have passed, and that of 200 ms is only 10 ms away.
    assert driver.method.tally.late == 3
    assert [driver.x_mm[t] for t in (300, 500, 700)] == pytest.approx([30.0, 50.0, 70.0], abs=1e-3)


def test_splice_of_a_chunk_that_is_all_late_sends_its_last_action_on_the_next_step():
    driver = Driver(DropLateSplice(CONTRACT, STEPS)).until(900, [(550, 0, actions_from(0.0, n=3))], begin_ms=0)
    assert driver.method.tally.late == 3
    assert driver.x_mm[550] == 0.0 and driver.x_mm[600] == pytest.approx(20.0, abs=1e-3)


def test_splice_counts_time_without_plan():
    driver = Driver(DropLateSplice(CONTRACT, STEPS)).until(500, [(40, 0, actions_from(0.0, n=4))], begin_ms=0)
    assert driver.method.tally.hold_periods == 19  # 310 to 490 ms: the last action was that of 300 ms


@pytest.mark.parametrize("method", [Uncompensated, DropLateSplice])
def test_published_cadence_is_one_observation_for_ta_periods(method):
    baseline = method(CONTRACT, STEPS)
    baseline.begin(200 * MS)
    asked = [t for t in range(200, 2000, 100) if baseline.next_observation(t * MS, t * MS, busy=200 < t < 1200)]
    assert asked == [200, 1200, 1800]  # late for the one of 1000 ms, then back in its rhythm
    assert baseline.context(0) == (None, 0)


def test_ensemble_sends_the_mean_at_absolute_times():
    chunks = [(10, 0, actions_from(0.0, width=0.08)), (310, 300, actions_from(40.0, width=0.0))]
    driver = Driver(Ensembled(CONTRACT, STEPS)).until(700, chunks, begin_ms=0)
    # Half way (weights 1 and 0.99) between 60 mm and 70 mm at 600 ms.
    assert driver.x_mm[600] == pytest.approx((60.0 + np.exp(-0.01) * 70.0) / (1.0 + np.exp(-0.01)), abs=1e-3)
    assert driver.widths == [(310, 0.0)]  # the newest decides; the mean of both would have left it open


def test_merge_skips_what_was_sent_averages_what_is_queued_and_drops_the_rest():
    queue = {5: np.full(10, 1.0), 6: np.full(10, 2.0), 20: np.full(10, 9.0)}
    merged = merge(queue, 3, np.full((5, 10), 11.0, np.float32), sent=4)
    assert list(merged) == [5, 6, 7]
    assert [merged[step][0] for step in (5, 6, 7)] == pytest.approx([0.3 * 1 + 0.7 * 11, 0.3 * 2 + 0.7 * 11, 11.0])


def ask(method, t_ms, busy):
    return method.next_observation(t_ms * MS, t_ms * MS, busy)


def play_weighted(latency_ms, end_ms):
    """The queue with a policy whose plan is 10 mm per 100 ms on; returns the driver and the times of observations."""
    method = WeightedQueue(CONTRACT, STEPS)
    driver, under_way, asked, numbers = Driver(method), None, [], []
    for t_ms in range(0, end_ms, 10):
        arrived = [under_way] if under_way and under_way[0] <= t_ms else []
        driver.until(t_ms + 10, arrived, begin_ms=0)
        under_way = None if arrived else under_way
        observed_ns = method.next_observation(t_ms // 100 * 100 * MS, t_ms * MS, under_way is not None)
        if observed_ns is not None:
            asked.append(observed_ns // MS)
            numbers.append(method._numbers[observed_ns])
            under_way = (t_ms + latency_ms, observed_ns // MS, actions_from(10.0 * numbers[-1]))
    return driver, asked, numbers


def test_queue_asks_when_half_of_the_chunk_is_left_and_goes_by_steps():
    driver, asked, numbers = play_weighted(latency_ms=150, end_ms=2000)
    # The first chunk comes at 150 ms, so its action 0 is sent at 200 ms; 8 of 16 are left after that of 900 ms (7).
    assert asked[:2] == [0, 900] and numbers[:2] == [0, 7]
    assert driver.x_mm[900] == pytest.approx(70.0, abs=1e-3)
    assert driver.method.tally.seams[0] == (pytest.approx(0.0, abs=1e-6), pytest.approx(0.0, abs=1e-6))


def test_queue_that_runs_empty_stands_and_loses_no_step():
    driver, asked, numbers = play_weighted(latency_ms=1000, end_ms=3500)
    # First chunk from 1000 ms on, asked again at 1700 ms; steps 9 to 15 last until 2500 ms, the next comes at 2700 ms.
    assert asked[:2] == [0, 1700] and numbers[1] == 7
    assert driver.x_mm[2600] == pytest.approx(150.0, abs=1e-3)
    assert driver.method.tally.hold_periods > 10


def test_queue_asks_at_its_steps_where_they_fall_between_control_periods_too():
    """15 actions a second at 100 Hz of control: steps at 0, 66.7 and 133.3 ms are those of 0, 70 and 140 ms."""
    contract = replace(CONTRACT, action=replace(CONTRACT.action, rate_hz=15.0))
    method = WeightedQueue(contract, STEPS)
    driver = Driver(method)
    asked = []
    for t_ms in range(0, 200, 10):
        driver.until(t_ms + 10, begin_ms=0)
        before = len(method._numbers)
        ask(method, t_ms, busy=True)
        asked += [t_ms] if len(method._numbers) > before else []
    assert asked == [0, 70, 140]


def test_weighted_gripper_is_averaged_as_any_number():
    method = WeightedQueue(CONTRACT, STEPS)
    driver = Driver(method).until(10, begin_ms=0)
    for t_ms, width in ((0, 0.08), (100, 0.0)):
        method._numbers[t_ms * MS] = t_ms // 100
        method.take(Arrival(0, t_ms * MS, actions_from(0.0, width=width)), t_ms * MS)
    driver.until(210)
    assert method._queue[5][9] == pytest.approx(0.3 * 0.08, abs=1e-6)


def make_ours():
    driver = Driver(Compensated(CONTRACT, STEPS, first_age_ns=40 * MS)).until(200)
    driver.method.begin(200 * MS)
    return driver


def test_ours_gives_the_plan_from_the_observation_on_and_the_actions_of_the_measured_age():
    driver = make_ours()
    method = driver.method
    assert ask(method, 200, busy=False) == 200 * MS
    assert method.context(200 * MS) == (None, 0)
    driver.until(660, [(640, 200, actions_from(0.0))])  # 440 ms old
    plan, n_late = method.context(700 * MS)
    np.testing.assert_allclose(plan, actions_from(50.0, n=11), atol=1e-6)
    assert n_late == 5  # actions of 700, 800, ... 1100 ms are due before 1140 ms


def test_ours_joins_a_chunk_that_goes_on_with_the_plan_without_a_jump():
    driver = make_ours().until(1400, [(240, 200, actions_from(0.0)), (900, 700, actions_from(50.0))])
    driver.method.finish(1400 * MS)
    metres, radians = zip(*driver.method.tally.seams, strict=True)
    assert len(metres) == 1 and max(metres) < 1e-4 and max(radians) < 1e-6
    assert driver.x_mm[1300] == pytest.approx(110.0, abs=0.5)


def test_ours_ends_an_episode_whose_plan_is_lost():
    driver = make_ours().until(4000, [(240, 200, actions_from(0.0, n=4))])
    assert "left POLICY for HOLD" in driver.method.tally.failure
