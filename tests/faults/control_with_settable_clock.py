"""The control node on a ROS clock that a test can set. Usage: control_with_settable_clock.py FILE [ROS arguments].

FILE holds the offset in nanoseconds as eight bytes; the test writes it. As when somebody sets the machine's clock, the
monotonic clock, on which the loop is paced, goes on.
"""

import mmap
import struct
import sys

from dp_control.node import main
from rclpy.clock import Clock
from rclpy.time import Time


def make_settable(path):
    with open(path, "r+b") as file:
        memory = mmap.mmap(file.fileno(), 8)
    read = Clock.now

    def now(clock):
        time = read(clock)
        (offset_ns,) = struct.unpack("q", memory[:])
        return Time(nanoseconds=time.nanoseconds + offset_ns, clock_type=time.clock_type)

    Clock.now = now


if __name__ == "__main__":
    make_settable(sys.argv.pop(1))
    main()
