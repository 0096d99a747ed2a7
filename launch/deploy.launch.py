"""The cell with a trained policy: cameras and robot state -> policy -> control -> arm; the recorder listens.

ros2 launch launch/deploy.launch.py cell:=sim_franka checkpoint:=runs/latest/checkpoint
"""

from dp_bringup.launching import describe_graph


def generate_launch_description():
    return describe_graph("deploy")
