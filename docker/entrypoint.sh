#!/usr/bin/env bash
# Source ROS and the workspace, then run the command. `dp` lies where colcon puts a package's executables.
set -e
source /workspace/ros2_ws/install/setup.bash
export PATH=/workspace/ros2_ws/install/dp_bringup/lib/dp_bringup:$PATH
exec "$@"
