from __future__ import annotations

import numpy as np
import pytest
from dp_policy.plan_memory import PlanMemory

PERIOD_NS = 100_000_000


def test_gives_what_is_left_from_a_time_on() -> None:
    memory = PlanMemory(PERIOD_NS)
    assert memory.remaining(0) is None
    actions = np.arange(8, dtype=np.float32).reshape(4, 2)
    memory.remember(5 * PERIOD_NS, actions)
    np.testing.assert_array_equal(memory.remaining(5 * PERIOD_NS), actions)
    np.testing.assert_array_equal(memory.remaining(7 * PERIOD_NS + 3_000_000), actions[2:])
    assert memory.remaining(9 * PERIOD_NS) is None
    assert memory.remaining(4 * PERIOD_NS) is None
    memory.clear()
    assert memory.remaining(5 * PERIOD_NS) is None


def test_period_must_be_positive() -> None:
    with pytest.raises(ValueError, match="period_ns"):
        PlanMemory(0)
