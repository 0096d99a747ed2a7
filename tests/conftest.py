"""One environment for all tests that touch ROS: a domain of this run alone, and messages that check their fields."""

import os
from pathlib import Path

from dp_bringup.domain import dds_environment

# Setters of messages check types only when asked to; a wrong type otherwise shows up in somebody else's process.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
os.environ.update(dds_environment(Path(__file__).resolve().parents[1] / "build" / "test_logs"))
