"""A ROS context of its own for each test."""

import pytest
import rclpy
from rclpy.node import Node


@pytest.fixture
def context():
    context = rclpy.Context()
    rclpy.init(context=context)  # in the domain of this run
    yield context
    context.try_shutdown()


@pytest.fixture
def make_node(context):
    """Makes nodes that leave the graph with the test."""
    nodes = []

    def make(name, **choices):
        nodes.append(Node(name, context=context, **choices))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
