from dp_recorder.gesture_filter import GestureFilter

MS = 1_000_000


def test_a_gesture_is_taken_once():
    gestures = GestureFilter()
    assert gestures.is_new("start", 1000 * MS)
    assert not gestures.is_new("start", 1000 * MS), "sent twice"
    assert not gestures.is_new("stop", 900 * MS), "older than what was taken"
    assert not gestures.is_new("start", 1200 * MS), "a bouncing button"
    assert gestures.is_new("success", 1210 * MS), "another command may follow at once"
    assert gestures.is_new("success", 1600 * MS)
