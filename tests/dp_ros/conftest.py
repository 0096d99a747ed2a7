"""A ROS context of its own for each test."""

import pytest
import rclpy


@pytest.fixture
def context():
    context = rclpy.Context()
    rclpy.init(context=context)  # in the domain of this run
    yield context
    context.try_shutdown()
