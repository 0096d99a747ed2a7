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


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="steps 0"):
        schedule(steps=0)
