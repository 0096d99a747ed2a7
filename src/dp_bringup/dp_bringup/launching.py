"""Node graphs for `ros2 launch`; imported by launch files only, because launch is not on PyPI."""

from __future__ import annotations

from typing import Any

from dp_core.contract import config_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from dp_bringup.graph import build_graph, options_of


def describe_graph(mode: str) -> LaunchDescription:
    """A launch description with one described argument for each option of the graph."""
    options = options_of(mode)
    arguments = [
        DeclareLaunchArgument(option.name, default_value=str(option.default), description=option.description)
        for option in options
    ]

    def start(context: LaunchContext) -> list[Any]:
        choices = {option.name: LaunchConfiguration(option.name).perform(context) for option in options}
        return [
            Node(
                package=node.package,
                executable=node.executable,
                name=node.name,
                parameters=[node.parameters],
                remappings=list(node.remappings),
                output="screen",
            )
            for node in build_graph(mode, **choices)
        ]

    profiles = str(config_directory() / "dds" / "fastdds.xml")
    environment = [
        SetEnvironmentVariable("FASTRTPS_DEFAULT_PROFILES_FILE", profiles),
        SetEnvironmentVariable("OMP_NUM_THREADS", "1"),
        SetEnvironmentVariable("PYTHONUNBUFFERED", "1"),
    ]
    return LaunchDescription([*arguments, *environment, OpaqueFunction(function=start)])
