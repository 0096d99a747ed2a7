"""librealsense has wheels for x86_64 only; elsewhere what needs it is left out."""

import importlib.util

if importlib.util.find_spec("pyrealsense2") is None:
    collect_ignore = ["test_realsense.py", "test_node.py", "test_camera_model.py"]
