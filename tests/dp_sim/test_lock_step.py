"""Waiting for partners and pacing."""

from __future__ import annotations

import threading
import time

from dp_sim.lock_step import LockStep, WallPace


def test_wait_ends_when_all_partners_have_answered():
    lock = LockStep()
    start = time.monotonic()
    threading.Timer(0.05, lock.note, ("command", 100)).start()
    threading.Timer(0.10, lock.note, ("joy", 100)).start()
    assert lock.wait(100, lambda: ("command", "joy"), 60.0, lambda: None) == ()
    assert 0.09 < time.monotonic() - start < 50.0


def test_an_old_answer_does_not_count_and_the_missing_are_named():
    lock = LockStep()
    lock.note("command", 100)
    lock.note("joy", 90)
    reminders: list[int] = []
    missing = lock.wait(100, lambda: ("command", "joy"), 1.0, lambda: reminders.append(1), remind_s=0.25)
    assert missing == ("joy",)
    assert 1 <= len(reminders) <= 4


def test_partners_may_join_while_waiting():
    lock = LockStep()
    lock.note("command", 100)
    joined = threading.Event()

    def partners() -> tuple[str, ...]:
        if not joined.is_set():
            joined.set()
            return ("command", "joy")
        return ("command",)

    threading.Timer(0.05, lock.note, ("command", 101)).start()
    assert lock.wait(100, partners, 60.0, lambda: None) == ()


def test_close_ends_waiting():
    lock = LockStep()
    threading.Timer(0.05, lock.close).start()
    start = time.monotonic()
    assert lock.wait(1, lambda: ("command",), 60.0, lambda: None) == ()
    assert time.monotonic() - start < 50.0


def test_pace_keeps_an_absolute_schedule_and_gives_up_lost_time():
    for _ in range(10):  # once without a pause of the machine
        pace = WallPace(0.01, slack_s=0.05)
        start = time.monotonic()
        for _ in range(31):
            pace.wait(1.0)
            time.sleep(0.002)
        took_s = time.monotonic() - start
        if took_s < 0.36:
            break
    # Pauses of 10 ms after work of 2 ms would take 0.37 s.
    assert 0.28 < took_s < 0.36
    time.sleep(0.2)
    late = time.monotonic()
    for _ in range(11):
        pace.wait(1.0)
    assert time.monotonic() - late > 0.08
    assert pace.restarts >= 1


def test_rate_zero_does_not_wait():
    pace = WallPace(0.5)
    start = time.monotonic()
    for _ in range(5):
        pace.wait(0.0)
    assert time.monotonic() - start < 2.0, "paced: 2.5 s"
