"""The launch files, where the launch system is installed (it is not on PyPI)."""

from pathlib import Path

import pytest

pytest.importorskip("launch_ros", reason="the launch system comes with an apt installation of ROS")

FILES = sorted((Path(__file__).resolve().parents[2] / "launch").glob("*.launch.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_launch_files_describe_every_argument(file):
    from dp_bringup.graph import options_of
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    arguments = get_launch_description_from_python_launch_file(str(file)).get_launch_arguments()
    described = {argument.name: argument.description for argument in arguments}
    mode = file.name.split(".")[0]
    assert described == {option.name: option.description for option in options_of(mode)}
