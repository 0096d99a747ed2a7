"""When inferences start; times worked by hand."""

import pytest
from dp_policy_node.inference_schedule import InferenceSchedule

MS = 1_000_000


def schedule(**changes):
    fields = {"period_ns": 100 * MS, "steps": 8, "observation_period_ns": 100 * MS, "first_age_ns": 50 * MS}
    return InferenceSchedule(**{**fields, **changes})


def test_the_first_observation_is_due_at_once():
    assert schedule().due(0)


def test_the_next_inference_is_the_last_that_arrives_in_time():
    s = schedule()
    s.published(1000 * MS, 1050 * MS)
    # Committed until 1800 ms. At age 50 ms the observation of 1700 ms arrives at 1750 ms, that of 1800 ms too late.
    assert [t for t in range(1000, 1900, 100) if s.due(t * MS)] == [1700, 1800]


def test_a_longer_measured_age_starts_earlier():
    s = schedule()
    for i in range(20):
        s.published(i * 800 * MS, i * 800 * MS + 180 * MS)
    t0 = 19 * 800
    # 1600 + 180 = 1780 <= 1800 but 1700 + 180 is not.
    assert [t - t0 for t in range(t0, t0 + 900, 100) if s.due(t * MS)] == [600, 700, 800]


def test_the_assumed_age_is_forgotten_once_one_is_measured():
    s = schedule(first_age_ns=700 * MS)
    assert s.budget_ns == 700 * MS
    s.published(0, 40 * MS)
    assert s.budget_ns == 40 * MS


def test_an_observation_is_never_used_twice_and_a_start_forgets_the_chunk():
    s = schedule()
    s.published(1000 * MS, 1900 * MS)
    assert not s.due(1000 * MS)
    s.start()
    assert s.due(1000 * MS)


def test_what_the_first_chunk_of_an_episode_took_counts_only_until_there_is_better():
    s = schedule()
    s.published(0, 400 * MS)
    assert s.budget_ns == 400 * MS, "better than an assumption"
    s.published(800 * MS, 860 * MS)
    assert s.budget_ns == 60 * MS
    s.start()
    s.published(5000 * MS, 5400 * MS)
    assert s.budget_ns == 60 * MS, "frames of the whole window had to be encoded"


def test_one_outlier_is_not_the_estimate_but_a_lasting_change_is():
    s = schedule()
    for i in range(3):
        s.published(i * 800 * MS, i * 800 * MS + 60 * MS)
        s.delivered(10 * MS)
    s.published(3 * 800 * MS, 3 * 800 * MS + 500 * MS)
    s.delivered(400 * MS)
    assert (s.budget_ns, s.delivery_ns) == (60 * MS, 10 * MS)
    for i in range(4, 7):
        s.published(i * 800 * MS, i * 800 * MS + 300 * MS)
        s.delivered(50 * MS)
    assert (s.budget_ns, s.delivery_ns) == (300 * MS, 50 * MS)


def test_the_budget_and_the_action_latency_say_how_many_actions_will_have_run():
    s = schedule(first_age_ns=250 * MS, action_latency_ns=40 * MS)
    # Of actions at 0, 100, 200 ms after t_obs all have been sent 250 + 40 ms after it, that of 300 ms has not.
    assert s.n_late == 3
    s.published(0, 55 * MS)
    assert s.n_late == 1
    for i in range(1, 60):
        s.published(i * 800 * MS, i * 800 * MS + 600 * MS)
    assert s.n_late == 7, "a slow engine"


def test_what_control_reports_of_the_delivery_counts():
    s = schedule(first_age_ns=80 * MS)
    assert s.n_late == 1
    s.published(1000 * MS, 1080 * MS)
    assert [t for t in range(1000, 1900, 100) if s.due(t * MS)] == [1700, 1800]
    s.delivered(30 * MS)
    # The chunk of 1700 arrives at 1810 ms: too late by 10.
    assert s.n_late == 2
    assert [t for t in range(1000, 1900, 100) if s.due(t * MS)] == [1600, 1700, 1800]


def test_actions_are_sent_before_their_time_so_the_next_chunk_is_wanted_earlier():
    s = schedule(first_age_ns=60 * MS, action_latency_ns=100 * MS)
    s.published(1000 * MS, 1060 * MS)
    # The action of 1800 ms is sent at 1700 ms: the chunk of 1600 ms comes at 1660 ms, that of 1700 ms too late.
    assert [t for t in range(1000, 1900, 100) if s.due(t * MS)] == [1600, 1700, 1800]


def test_a_dropped_chunk_makes_the_next_observation_due_and_no_other():
    s = schedule()
    s.published(1000 * MS, 1050 * MS)
    assert not s.due(1100 * MS)
    s.drop()
    assert s.due(1100 * MS) and not s.due(1000 * MS)


def test_an_observation_that_no_chunk_came_of_is_not_tried_again():
    s = schedule()
    s.failed(500 * MS)
    assert not s.due(500 * MS) and s.due(600 * MS)
    s.published(1000 * MS, 1050 * MS)
    s.failed(1700 * MS)
    assert not s.due(1700 * MS) and s.due(1800 * MS)


def test_chunks_that_come_after_the_committed_part_are_counted():
    s = schedule()
    s.published(1000 * MS, 1050 * MS)
    s.published(1700 * MS, 1800 * MS)
    assert s.overdue == 0
    s.published(2400 * MS, 2501 * MS)
    assert s.overdue == 1


def test_the_figures_are_those_of_the_measured_ages():
    s = schedule()
    assert s.ages.p99_ms == 0
    s.published(0, 10 * MS)
    for i in range(1, 12):
        s.published(i * 1000 * MS, i * 1000 * MS + 10 * i * MS)
    # 10, 20, ... 110 ms: half of them lie below 60, nine tenths below 100.
    assert (s.ages.p50_ms, s.ages.p90_ms) == pytest.approx((60, 100))
    assert s.ages.p99_ms == pytest.approx(109)


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="steps 0"):
        schedule(steps=0)
