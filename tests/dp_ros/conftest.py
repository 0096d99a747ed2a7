"""A ROS context of its own for each test."""

import os

import pytest
import rclpy


@pytest.fixture
def context():
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=70 + os.getpid() % 30)
    yield context
    context.try_shutdown()
