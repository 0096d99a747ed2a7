"""When a device counts as there and as lost."""

from dp_teleop.connection import SILENT_LOOKS, Connection

MS = 1_000_000


def test_a_device_appears_once_and_is_lost_once():
    connection = Connection(name="auto")
    assert connection.arrive("device", "SpaceMouse (hid)", 10 * MS)
    assert not connection.arrive("device", "SpaceMouse (hid)", 20 * MS)
    assert connection.lose("unplugged") and not connection.lose("not found")
    assert (connection.losses, connection.reason, connection.rate_hz()) == (1, "not found", 0.0)
    assert connection.arrive("topic", "spacenav/joy", 30 * MS) and connection.reason == ""


def test_silence_is_that_of_the_device_and_not_of_a_process_that_stood_still():
    connection = Connection()
    connection.arrive("topic", "spacenav/joy", 0)
    # One look after two seconds in which this process did not run: the samples of that time come next.
    assert connection.silence(2_000 * MS) == ""
    connection.arrive("topic", "spacenav/joy", 2_001 * MS)
    texts = [connection.silence((2_001 + 40 * look) * MS) for look in range(1, SILENT_LOOKS + 1)]
    assert texts[:-1] == [""] * (SILENT_LOOKS - 1) and texts[-1] == "spacenav/joy is silent for 0.16 s"


def test_a_simulated_clock_that_stands_still_is_no_silence():
    connection = Connection()
    connection.arrive("topic", "spacenav/joy", 100 * MS)
    assert not any(connection.silence(100 * MS) for _ in range(50))


def test_silence_is_noticed_though_the_clock_was_set_back():
    connection = Connection()
    connection.arrive("topic", "spacenav/joy", 3_600_000 * MS)
    texts = [connection.silence(40 * look * MS) for look in range(1, SILENT_LOOKS + 1)]
    assert texts[:-1] == [""] * (SILENT_LOOKS - 1) and texts[-1] == "spacenav/joy is silent for 0.16 s"


def test_a_device_that_comes_in_the_place_of_another_has_just_appeared():
    """What the hand did at the one says nothing of the other."""
    connection = Connection()
    connection.arrive("topic", "spacenav/joy", 0)
    assert connection.arrive("device", "SpaceMouse (hid)", 10 * MS)
    assert not connection.arrive("device", "SpaceMouse (hid)", 20 * MS)


def test_a_device_that_sends_only_rubbish_is_lost_by_that():
    connection = Connection()
    connection.arrive("topic", "spacenav/joy", 0)
    for look in range(1, SILENT_LOOKS + 1):
        connection.refuse("has an axis that is not finite")
        text = connection.silence(40 * look * MS)
    assert text == "each sample has an axis that is not finite" and connection.refused == SILENT_LOOKS


def test_while_one_source_delivers_the_other_is_not_wanted():
    connection = Connection()
    assert connection.open_to("topic") and connection.open_to("device")
    connection.arrive("device", "SpaceMouse (hid)", 0)
    assert connection.open_to("device") and not connection.open_to("topic")
    connection.lose("unplugged")
    assert connection.open_to("topic")


def test_the_rate_is_that_of_the_last_samples():
    connection = Connection()
    for index in range(50):
        connection.arrive("device", "mouse", 1_000 * MS + 8 * index * MS)
    assert round(connection.rate_hz()) == 125 and connection.age_s(1_400 * MS) == 0.008
