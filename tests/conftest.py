"""One environment for all tests that touch ROS: a domain of this run alone, and messages that check their fields."""

import os
import signal
from pathlib import Path

from dp_bringup.domain import dds_environment

# Setters of messages check types only when asked to; a wrong type otherwise shows up in somebody else's process.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
os.environ.update(dds_environment(Path(__file__).resolve().parents[1] / "build" / "test_logs"))

# A shell that starts the tests in the background has SIGINT ignored, and children inherit that: those whose Ctrl-C is
# tested would never hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
