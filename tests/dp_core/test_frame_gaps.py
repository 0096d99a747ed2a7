from dp_core.frame_gaps import FrameGaps, GapSummary
from hypothesis import given
from hypothesis import strategies as st


def counted(numbers, **options):
    gaps = FrameGaps(**options)
    return [gaps.add(number) for number in numbers], gaps.summary


def test_a_counter_that_goes_on_shows_nothing():
    assert counted(range(100, 400)) == ([0] * 300, GapSummary(frames=300))


def test_numbers_left_out_are_lost_frames():
    missing, summary = counted([7, 8, 11, 12, 20])
    assert missing == [0, 0, 2, 0, 7]
    assert summary == GapSummary(frames=5, lost=9, gaps=2, longest_gap=7)


def test_a_number_seen_again_is_a_repeat():
    assert counted([1, 2, 2, 3])[1] == GapSummary(frames=4, repeats=1)


def test_the_counter_wraps():
    assert counted([2**32 - 2, 2**32 - 1, 0, 1])[1] == GapSummary(frames=4)
    assert counted([254, 1], bits=8) == ([0, 2], GapSummary(frames=2, lost=2, gaps=1, longest_gap=2))


def test_a_counter_that_begins_anew_loses_nobody_knows_what():
    assert counted([5000, 5001, 1, 2])[1] == GapSummary(frames=4, resets=1)
    assert counted([5, 6, 1_000_000, 1_000_001])[1] == GapSummary(frames=4, resets=1), "no camera loses a million"
    gaps = FrameGaps()
    for number in (5, 6):
        gaps.add(number)
    gaps.restart()
    assert gaps.add(30) == 0 and gaps.summary == GapSummary(frames=3)


@given(st.integers(0, 2**32 - 1), st.lists(st.booleans(), min_size=2, max_size=200))
def test_what_is_lost_and_what_arrives_is_what_was_sent(first, arrives):
    arrives = [True, *arrives, True]
    numbers = [(first + i) % 2**32 for i, there in enumerate(arrives) if there]
    summary = counted(numbers)[1]
    assert summary.lost == arrives.count(False)
    assert summary.frames == arrives.count(True)
