"""The cell with the teleoperation chain and the recorder: operator -> teleop -> control -> arm.

ros2 launch launch/teleop.launch.py cell:=sim_franka task:=place
"""

from dp_bringup.launching import describe_graph


def generate_launch_description():
    return describe_graph("teleop")
