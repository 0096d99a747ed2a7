"""Ticks on the monotonic clock and on /clock, over real DDS."""

import threading
import time

from dp_ros.messages import ns_to_stamp
from dp_ros.pacing import Pacer
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rosgraph_msgs.msg import Clock

from dp_ros import qos

MS = 1_000_000


def test_real_time_ticks_do_not_drift(make_node):
    node = make_node("paced")
    pacer = Pacer(node, 10 * MS)
    start = time.monotonic()
    ticks = []
    for _ in range(30):
        ticks.append(pacer.wait())
        time.sleep(0.004)
    elapsed = time.monotonic() - start
    # Each tick is due 10 ms after the one before whatever the loop did; skipped ticks only make it longer.
    assert elapsed >= 0.299 and len(set(ticks)) == 30 and ticks == sorted(ticks)


def test_a_slow_loop_skips_ticks_instead_of_running_them_in_a_burst(make_node):
    node = make_node("paced")
    pacer = Pacer(node, 10 * MS)
    first = pacer.wait()
    time.sleep(0.105)
    second = pacer.wait()
    skipped = pacer.periods
    third = pacer.wait()
    # A burst would begin with the tick one period after the first.
    assert skipped >= 10 and pacer.overruns >= 1
    # Stamps drift to the clock by a thousandth at most, over all the periods that a busy machine makes it.
    assert abs(second - first - skipped * 10 * MS) < 20_000 * skipped
    assert abs(third - second - pacer.periods * 10 * MS) < 20_000 * pacer.periods


def test_errors_do_not_add_up(make_node):
    pacer = Pacer(make_node("paced"), 5 * MS)
    pacer.wait()
    start, periods, late_ns = time.monotonic_ns(), 0, []
    for _ in range(100):
        # A sleep for a duration would add the work and its own lateness to each period: 200 ms in all.
        time.sleep(0.002)
        pacer.wait()
        periods += pacer.periods
        late_ns.append(time.monotonic_ns() - start - periods * 5 * MS)
    # Each tick alone may be late on a busy machine, but not all of the last ones.
    assert -1 * MS < min(late_ns[-30:]) < 4 * MS


def test_stamps_are_those_of_the_schedule_and_evenly_spaced(make_node):
    node = make_node("paced")
    pacer = Pacer(node, 4 * MS)
    stamps, periods, ends = [], [], []
    for i in range(60):
        stamps.append(pacer.wait())
        ends.append(node.get_clock().now().nanoseconds)
        periods.append(pacer.periods)
        time.sleep(0.011 if i in (20, 40) else 0.0)
    for before, after, count in zip(stamps[:-1], stamps[1:], periods[1:], strict=True):
        assert abs(after - before - count * 4 * MS) <= 4_000 * count
    # 11 ms after a tick the last one due is that of 8 ms.
    assert periods[21] >= 2 and periods[41] >= 2 and pacer.overruns >= 2
    assert pacer.statistics.snapshot().skipped == sum(periods) - 60
    # The present tick, never one to come: at most a period ago, unless the thread was held up after it.
    ages = [end - stamp for end, stamp in zip(ends, stamps, strict=True)]
    assert min(ages) > -50_000 and sorted(ages)[30] < 4 * MS


def test_close_wakes_the_loop(make_node):
    for period_ns in (10**12, 30 * MS):
        pacer = Pacer(make_node("paced"), period_ns)
        threading.Timer(0.05, pacer.close).start()
        started = time.monotonic()
        while pacer.wait() is not None:
            pass
        assert time.monotonic() - started < 30.0


def test_simulated_ticks_follow_the_clock_and_survive_its_restart(make_node, context):
    node = make_node("paced", parameter_overrides=[Parameter("use_sim_time", value=True)])
    pacer = Pacer(node, 10 * MS)
    source = make_node("clock")
    publisher = source.create_publisher(Clock, "/clock", qos.CLOCK)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    spinner = threading.Thread(target=executor.spin, daemon=True)
    spinner.start()
    ticks: list[int | None] = []
    loop = threading.Thread(target=lambda: [ticks.append(t) for t in iter(pacer.wait, None)], daemon=True)
    loop.start()
    for t, count in ((1000, 1), (1003, 1), (1010, 2), (1020, 3), (1050, 4), (10, 5), (20, 6)):
        publisher.publish(Clock(clock=ns_to_stamp(t * MS)))
        deadline = time.monotonic() + 20.0
        while time.monotonic() < deadline and len(ticks) < count:
            time.sleep(0.05)
            publisher.publish(Clock(clock=ns_to_stamp(t * MS)))  # /clock is not reliable; the same time is no new tick
        time.sleep(0.03)
    pacer.close()
    loop.join(20.0)
    executor.shutdown()
    spinner.join(20.0)
    # 1003 is in the tick of 1000; after the restart at 10 the ticks go on.
    assert ticks == [t * MS for t in (1000, 1010, 1020, 1050, 10, 20)]
