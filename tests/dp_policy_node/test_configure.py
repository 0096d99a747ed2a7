"""What goes wrong while the node is configured leaves it unconfigured, with a reason and nothing half made."""

from types import SimpleNamespace

import pytest
import rclpy
from dp_policy_node.node import PolicyNode
from rclpy.lifecycle import TransitionCallbackReturn

from dp_policy_node import running_policy


@pytest.fixture
def node(checkpoint):
    """A node that nobody has configured yet, in this process."""
    parameters = {"checkpoint": checkpoint(), "runtime": "reference", "autostart": "false"}
    given = (word for name in parameters for word in ("-p", f"{name}:={parameters[name]}"))
    # Apart from the nodes of other tests: rclpy keeps the services of a lifecycle node in this process to the end.
    rclpy.init(args=["--ros-args", "-r", "__ns:=/configured_here", *given])
    made = PolicyNode()
    yield made
    made.close()
    made.destroy_node()
    rclpy.shutdown()


def no_thread(*_arguments):
    raise RuntimeError("can't start new thread")


def test_a_running_policy_that_cannot_be_built_is_a_failed_transition_and_the_next_one_succeeds(node, monkeypatch):
    before = len(list(node.publishers)), len(list(node.subscriptions))
    with monkeypatch.context() as broken:
        broken.setattr(running_policy, "start_worker", no_thread)
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert "can't start new thread" in node.problem
    assert (len(list(node.publishers)), len(list(node.subscriptions))) == before, "nothing is left of the attempt"
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS and node.problem == ""


def test_subscriptions_that_cannot_all_be_made_are_all_let_go_of(node, monkeypatch):
    before = len(list(node.subscriptions))
    subscribe = node.create_subscription

    def first_only(message, topic, callback, profile):
        if len(list(node.subscriptions)) > before:
            raise ValueError("no room")
        return subscribe(message, topic, callback, profile)

    with monkeypatch.context() as broken:
        broken.setattr(node, "create_subscription", first_only)
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert "no room" in node.problem and len(list(node.subscriptions)) == before


def test_a_loader_left_from_before_a_cleanup_is_waited_for(node):
    waited = []
    node._loader = SimpleNamespace(join=lambda: waited.append(True), folder="old", done=False)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert waited == [True] and node._loading_folder() == ""
