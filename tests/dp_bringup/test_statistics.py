import pytest
from dp_bringup.statistics import percentiles, wilson_interval


def test_wilson_interval_against_published_values():
    # Newcombe 1998, table I, method 3: 81 of 263 and 0 of 20.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_wilson_interval_stays_in_range():
    assert wilson_interval(20, 20)[1] == pytest.approx(1.0)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="21"):
        wilson_interval(21, 20)


def test_wilson_interval_contains_the_proportion_in_spite_of_rounding():
    """Error bars are the distances to the bounds, and none may be negative."""
    for trials in (10, 50, 69, 200, 300):
        assert wilson_interval(0, trials)[0] == 0.0
        assert wilson_interval(trials, trials)[1] == 1.0


def test_percentiles():
    assert percentiles([]) == {}
    assert percentiles(list(range(101))) == {"p50": 50.0, "p90": 90.0, "p99": 99.0}
