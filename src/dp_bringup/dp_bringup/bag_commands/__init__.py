"""What `dp bag` prints and asks; the work itself is in ``dp_recorder.bag_tools``."""
