"""The lean executor runs what rclpy's runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import rclpy
from dp_ros.executor import LeanExecutor
from rclpy.node import Node
from rclpy.task import Future
from std_msgs.msg import Int32
from std_srvs.srv import Trigger

from dp_ros import qos


@pytest.fixture
def nodes(context) -> Iterator[tuple[Node, Node, LeanExecutor]]:
    server, client = (rclpy.create_node(name, context=context) for name in ("server", "client"))
    executor = LeanExecutor(context=context)
    executor.add_node(server)
    thread = threading.Thread(target=_spin, args=(executor,), daemon=True)
    thread.start()
    yield server, client, executor
    executor.shutdown()
    thread.join(timeout=20.0)
    assert not thread.is_alive()
    client.destroy_node()
    server.destroy_node()


def _spin(executor: LeanExecutor) -> None:
    executor.spin()


def _until(condition, timeout_s: float = 20.0) -> bool:
    end = time.monotonic() + timeout_s
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return bool(condition())


def test_all_messages_arrive_in_order(nodes):
    server, client, _ = nodes
    got: list[int] = []
    server.create_subscription(Int32, "numbers", lambda message: got.append(message.data), qos.STATE)
    publisher = client.create_publisher(Int32, "numbers", qos.STATE)
    assert _until(lambda: publisher.get_subscription_count() == 1)
    for value in range(200):
        publisher.publish(Int32(data=value))
        if value % 20 == 0:
            time.sleep(0.005)
    assert _until(lambda: len(got) == 200)
    assert got == list(range(200))


def test_a_subscription_made_while_spinning_is_served(nodes):
    server, client, _ = nodes
    time.sleep(0.3)
    got: list[int] = []
    server.create_subscription(Int32, "late", lambda message, info: got.append(message.data), qos.STATE)
    publisher = client.create_publisher(Int32, "late", qos.STATE)
    assert _until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(Int32(data=7))
    assert _until(lambda: got == [7])


def test_timers_and_services_run_beside_messages(nodes):
    server, client, _ = nodes
    fired: list[float] = []
    server.create_timer(0.02, lambda: fired.append(time.monotonic()))
    server.create_service(Trigger, "trigger", _answer)
    caller = client.create_client(Trigger, "trigger")
    assert caller.wait_for_service(timeout_sec=20.0)
    future = caller.call_async(Trigger.Request())
    rclpy.spin_until_future_complete(client, future, executor=_of(client), timeout_sec=20.0)
    assert future.done() and future.result().message == "yes"
    assert _until(lambda: len(fired) >= 10)


def test_a_service_that_waits_for_another_thread_is_answered(nodes):
    server, client, executor = nodes
    waiting: list[Future] = []

    async def slow(request, response):
        waiting.append(Future())
        response.message = await waiting[0]
        return response

    server.create_service(Trigger, "slow", slow)
    caller = client.create_client(Trigger, "slow")
    assert caller.wait_for_service(timeout_sec=20.0)
    future = caller.call_async(Trigger.Request())
    assert _until(lambda: bool(waiting))
    assert not future.done()
    waiting[0].set_result("at last")
    executor.wake()
    rclpy.spin_until_future_complete(client, future, executor=_of(client), timeout_sec=20.0)
    assert future.done() and future.result().message == "at last"


def test_an_exception_in_a_callback_ends_spin(context):
    node = rclpy.create_node("failing", context=context)

    def fail(message: Int32) -> None:
        raise RuntimeError("bad message")

    node.create_subscription(Int32, "bad", fail, qos.STATE)
    publisher = node.create_publisher(Int32, "bad", qos.STATE)
    executor = LeanExecutor(context=context)
    executor.add_node(node)
    try:
        assert _until(lambda: publisher.get_subscription_count() == 1)
        publisher.publish(Int32(data=1))
        with pytest.raises(RuntimeError, match="bad message"):
            executor.spin()
    finally:
        node.destroy_node()  # a second attempt must not find its subscription


def _answer(request, response):
    response.success, response.message = True, "yes"
    return response


def _of(node: Node):
    return rclpy.executors.SingleThreadedExecutor(context=node.context)
