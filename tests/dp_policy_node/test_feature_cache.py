"""Features are made once for each frame, and kept no longer than they may be of use."""

import pytest
from dp_policy_node.feature_cache import FeatureCache


def test_a_frame_that_two_windows_share_is_encoded_once():
    cache = FeatureCache(8)
    encoded = []
    for window in ([1, 2], [2, 3], [3, 4], [1, 4]):
        for stamp in window:
            if cache.get("front", stamp) is None:
                encoded.append(stamp)
                cache.put("front", stamp, f"features {stamp}")
    assert encoded == [1, 2, 3, 4]
    assert (cache.counts.encoded, cache.counts.reused) == (4, 4)
    assert cache.get("front", 3) == "features 3" and cache.get("wrist", 3) is None


def test_the_frame_that_was_used_longest_ago_goes_first():
    cache = FeatureCache(2)
    cache.put("front", 1, "a")
    cache.put("wrist", 1, "b")
    cache.get("front", 1)
    cache.put("front", 2, "c")
    assert ("front", 1) in cache and ("front", 2) in cache and ("wrist", 1) not in cache and len(cache) == 2


def test_frames_encoded_ahead_and_never_used_are_counted_and_lower_the_trust():
    cache = FeatureCache(1)
    assert cache.used_share == 1.0
    cache.put("front", 1, "a", ahead=True)
    cache.get("front", 1)
    cache.get("front", 1)
    for stamp in (2, 3, 4):
        cache.put("front", stamp, "b", ahead=True)
    # Of the three that have met their fate the first was used, two were pushed out.
    assert cache.used_share == pytest.approx(1 / 3)
    assert (cache.counts.ahead, cache.counts.in_vain) == (4, 2)


def test_an_episode_that_ends_is_nobodys_fault():
    cache = FeatureCache(4)
    cache.put("front", 1, "a", ahead=True)
    cache.clear()
    assert len(cache) == 0 and cache.counts.in_vain == 0 and cache.used_share == 1.0


def test_a_cache_for_nothing_is_refused():
    with pytest.raises(ValueError, match="capacity 0"):
        FeatureCache(0)
