"""Message packages that only some robots need: imported when a contract asks for them."""

from __future__ import annotations

import importlib
from typing import Any

from dp_core.configuration import ConfigurationError

_SOURCES = {
    "control_msgs": "sudo apt-get install ros-jazzy-control-msgs",
    "controller_manager_msgs": "sudo apt-get install ros-jazzy-controller-manager-msgs",
    "franka_msgs": "build franka_ros2 in ros2_ws (vcs import src < stack.repos) and source it",
}


def interfaces(module: str, needed_by: str) -> Any:
    """Import ``<package>.<msg, srv or action>``.

    Args:
        module: such as ``franka_msgs.action``.
        needed_by: the setting that asks for it.

    Raises:
        ConfigurationError: it cannot be imported; says where to get it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ConfigurationError(f"{needed_by} needs {package} ({error}): {_SOURCES[package]}") from error
