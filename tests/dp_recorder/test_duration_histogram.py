import math

from dp_recorder.duration_histogram import DurationHistogram
from hypothesis import given, settings
from hypothesis import strategies as st


def quantile(values, share):
    """By definition: the smallest value that at least `share` of all do not exceed."""
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


@settings(deadline=None)
@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99, 1.0]))
def test_quantiles_agree_with_sorting_to_an_eighth_of_an_octave(values, share):
    histogram = DurationHistogram()
    for value in values:
        histogram.add(value)
    expected = quantile(values, share)
    assert abs(histogram.quantile_ns(share) - expected) <= abs(expected) / 16 + 1


def test_without_values_and_with_huge_ones():
    histogram = DurationHistogram()
    assert histogram.quantile_ns(0.5) == 0
    histogram.add(2**80)
    assert histogram.quantile_ns(0.5) > 2**60
