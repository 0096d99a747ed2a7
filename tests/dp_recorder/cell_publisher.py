"""A stand-in for the cell, run as a process of its own by test_node.

Publishes every stream of the contract on real DDS, drives the recorder's services, and prints as JSON what it
published and what the services answered. Usage: cell_publisher.py SCENARIO
"""

import json
import sys
import time

import rclpy
from dp_core.contract import load_contract
from dp_recorder.ros_types import message_class
from dp_ros.messages import ns_to_stamp, stamp_to_ns
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from dp_msgs.msg import EpisodeState, SceneState
from dp_msgs.srv import LabelEpisode, StartEpisode, StopEpisode
from dp_ros import qos

SPEED = 4.0
START_NS = 50_000_000_000
BEST_EFFORT = QoSProfile(depth=20, reliability=QoSReliabilityPolicy.BEST_EFFORT)
# Deeper than what is latched, so that a cell which is busy for a moment still hears each state.
EACH_STATE = QoSProfile(depth=100, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


class Cell(Node):
    def __init__(self, without=()) -> None:
        super().__init__("cell")
        contract = load_contract("sim_franka")
        self.clock_publisher = self.create_publisher(Clock, "/clock", 10)
        self.tick = 0
        self.counts: dict[str, int] = {}
        self.states = {}
        for name, stream in contract.streams.items():
            if stream.topic not in without:
                # franka's broadcasters are best effort.
                profile = BEST_EFFORT if name == "wrench" else qos.STATE
                kind = message_class(stream.type)
                self.states[stream.topic] = (self.create_publisher(kind, stream.topic, profile), kind())
        self.cameras = {}
        for camera in contract.cameras.values():
            if camera.topic not in without:
                image = Image(height=camera.height, width=camera.width, encoding="rgb8", step=3 * camera.width)
                image.data = bytes(3 * camera.width * camera.height)
                self.cameras[camera.topic] = (self.create_publisher(Image, camera.topic, qos.IMAGE), image)
        self.scene_publisher = self.create_publisher(SceneState, "sim/scene_state", qos.STATE)
        self.episode_states: list[EpisodeState] = []
        self.create_subscription(EpisodeState, "recorder/episode_state", self.episode_states.append, EACH_STATE)
        self.known_services = {}

    def publish(self, topic: str, publisher, message, stamp) -> None:
        message.header.stamp = stamp
        publisher.publish(message)
        self.counts[topic] = self.counts.get(topic, 0) + 1

    def run_ticks(self, count: int, skip=lambda topic, tick: False) -> None:
        """Publish ``count`` control ticks of 10 ms at SPEED times real time."""
        begin = time.monotonic()
        for index in range(count):
            t_ns = START_NS + self.tick * 10_000_000
            stamp = ns_to_stamp(t_ns)
            self.clock_publisher.publish(Clock(clock=stamp))
            for topic, (publisher, message) in self.states.items():
                if not skip(topic, index):
                    self.publish(topic, publisher, message, stamp)
            if self.tick % 10 == 0:
                for topic, (publisher, message) in self.cameras.items():
                    if not skip(topic, index):
                        self.publish(topic, publisher, message, stamp)
            scene = SceneState(stream_names=list(self.counts), stream_counts=list(self.counts.values()))
            self.publish("sim/scene_state", self.scene_publisher, scene, stamp)
            self.tick += 1
            rclpy.spin_once(self, timeout_sec=0.0)
            time.sleep(max(0.0, begin + (index + 1) * 0.01 / SPEED - time.monotonic()))

    def find_service(self, kind, name: str):
        """A client that is connected; finding it takes its time only once."""
        client = self.known_services[name] = self.known_services.get(name) or self.create_client(kind, name)
        if not client.wait_for_service(timeout_sec=60.0):
            raise SystemExit(f"no service {name}")
        return client

    def call(self, kind, name: str, **fields):
        future = self.find_service(kind, name).call_async(kind.Request(**fields))
        rclpy.spin_until_future_complete(self, future, timeout_sec=60.0)
        return future.result()

    def is_heard(self) -> bool:
        """Whether the recorder says that each stream comes."""
        rates = {s.topic.lstrip("/"): s.rate_hz for s in self.episode_states[-1].streams} if self.episode_states else {}
        return all(rates.get(topic.lstrip("/"), 0.0) > 0.0 for topic in (*self.states, *self.cameras))

    def wait_until_all_has_come(self) -> None:
        """Until the recorder's clock, as it says, is that of the last tick; and a moment for the rest of that tick."""
        last_ns = START_NS + (self.tick - 1) * 10_000_000
        deadline = time.monotonic() + 5.0  # the last message of /clock may be lost
        while time.monotonic() < deadline:
            if self.episode_states and stamp_to_ns(self.episode_states[-1].header.stamp) >= last_ns:
                break
            rclpy.spin_once(self, timeout_sec=0.05)
        time.sleep(0.3)

    def wait_for_recorder(self) -> None:
        deadline = time.monotonic() + 60.0
        publishers = [p for p, _ in (*self.states.values(), *self.cameras.values())] + [self.scene_publisher]
        while not all(p.get_subscription_count() for p in publishers):
            if time.monotonic() > deadline:
                raise SystemExit("the recorder did not subscribe to every stream")
            rclpy.spin_once(self, timeout_sec=0.05)
        # Two looks of the recorder at the publishers, so that its subscriptions match theirs.
        end = time.monotonic() + 2.5
        while time.monotonic() < end or not self.is_heard():
            if time.monotonic() > deadline:
                raise SystemExit("the recorder does not hear every stream")
            self.run_ticks(10)

    def start(self):
        """Start an episode; where the machine was too busy for the gate, once more."""
        deadline = time.monotonic() + 60.0
        self.find_service(StartEpisode, "recorder/start_episode")
        while True:
            self.wait_until_all_has_come()  # nothing under way when the episode starts: counts are exact
            start = self.call(StartEpisode, "recorder/start_episode", task="place", operator_name="ada", note="seed=11")
            # A stream that is missing is the only thing that may be wrong.
            alone = "never published" in start.message and ";" not in start.message
            if start.success or alone or time.monotonic() > deadline:
                return start
            self.run_ticks(200)

    def record(self, ticks: int, outcome: int, **options) -> dict:
        start = self.start()
        before = dict(self.counts)
        if not start.success:
            return {"started": False, "message": start.message}
        self.run_ticks(ticks, **options)
        self.wait_until_all_has_come()  # else the episode ends, on the recorder's clock, before its last ticks
        stop = self.call(StopEpisode, "recorder/stop_episode", outcome=outcome, note="by test")
        published = {topic: count - before.get(topic, 0) for topic, count in self.counts.items()}
        return {
            "started": True,
            "id": start.episode_id,
            "path": stop.path,
            "stopped": stop.success,
            "verdict": stop.verdict,
            "message": stop.message,
            "published": published,
        }


def whole(cell: Cell) -> dict:
    cell.wait_for_recorder()
    first = cell.record(600, StopEpisode.Request.SUCCESS)
    second = cell.record(100, StopEpisode.Request.DISCARD)
    third = cell.record(
        100, StopEpisode.Request.FAILURE, skip=lambda topic, tick: "ee_pose" in topic and 40 <= tick < 60
    )
    label = cell.call(
        LabelEpisode, "recorder/label_episode", episode_id=third["id"], outcome=StopEpisode.Request.SUCCESS, note="ok"
    )
    wrong = cell.call(LabelEpisode, "recorder/label_episode", episode_id="episode_9999_x", outcome=1)
    twice = cell.call(StopEpisode, "recorder/stop_episode", outcome=1)
    cell.run_ticks(10)
    cell.wait_until_all_has_come()
    states = [(s.state, s.episode_id, s.verdict) for s in cell.episode_states]
    streams = [
        {"topic": s.topic, "received": s.received, "lost": s.lost, "rate_hz": s.rate_hz, "required": s.required}
        for s in cell.episode_states[-1].streams
    ]
    return {
        "episodes": [first, second, third],
        "label": [label.success, label.message],
        "wrong_label": [wrong.success, wrong.message],
        "stop_twice": [twice.success, twice.message],
        "states": states,
        "streams": streams,
    }


def missing(cell: Cell) -> dict:
    cell.wait_for_recorder()
    return cell.record(10, StopEpisode.Request.SUCCESS)


def interrupted(cell: Cell) -> dict:
    """Start an episode, publish, say so, and go on until the test has stopped the recorder."""
    cell.wait_for_recorder()
    start = cell.start()
    print(json.dumps({"id": start.episode_id, "path": start.path}), flush=True)
    for second in range(1, 101):
        cell.run_ticks(100)
        print(json.dumps({"published_s": second}), flush=True)
    return {"published": cell.counts}


def endless(cell: Cell) -> dict:
    """Publish until killed."""
    while True:
        cell.run_ticks(100)


def main() -> None:
    scenario = sys.argv[1]
    rclpy.init()
    without = ("camera/wrist/color/image_raw",) if scenario == "missing" else ()
    scenarios = {"whole": whole, "missing": missing, "interrupted": interrupted, "endless": endless}
    result = scenarios[scenario](Cell(without))
    print(json.dumps(result), flush=True)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
