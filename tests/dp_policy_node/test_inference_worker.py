"""The inference thread with an engine that waits for the test: what ends while a chunk is made."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from dp_core.actions import encode_action
from dp_core.contract import load_contract
from dp_policy.config import PolicyConfig
from dp_policy.engine import Inference, Timings
from dp_policy_node.inference_core import InferenceCore
from dp_policy_node.inference_worker import InferenceWorker
from dp_policy_node.loaded_engine import ReadyPolicy

MS = 1_000_000
CONTRACT = load_contract("sim_franka")
SEEN = {"cameras": ["front", "wrist"], "history": 1, "image_height": 96, "image_width": 96}
CONFIG = PolicyConfig.from_dict({"name": "test", "observation": SEEN})
ACTIONS = encode_action(np.tile([0.5, 0, 0.3, 1, 0, 0, 0], (16, 1)), 0.04).astype(np.float32)


class Engine:
    """Plans when it is allowed to."""

    latency_s, description = 0.01, "test"

    def __init__(self):
        self.planning, self.may_end = threading.Event(), threading.Event()
        self.seeds = []

    def encode(self, camera, frame):
        return camera

    def plan(self, features, proprioception, previous_plan, n_late):
        self.planning.set()
        assert self.may_end.wait(20)
        return Inference(ACTIONS, Timings(0.0, 1.0, 0.0))

    def reseed(self, seed):
        self.seeds.append(seed)


@pytest.fixture
def running():
    """A worker whose engine is planning: (worker, engine, chunks published, thread)."""
    engine, chunks = Engine(), []
    loaded = SimpleNamespace(config=CONFIG, policy_id="test", policy=SimpleNamespace(given=lambda late, length: 0))
    core = InferenceCore(CONTRACT, CONFIG, 8, 10 * MS, 10.0, executes=True)
    policy = ReadyPolicy(loaded, engine, 8, "")
    worker = InferenceWorker(CONTRACT, policy, core, lambda: 200 * MS, chunks.append, print, print)
    worker.begin(0)
    for camera in CONFIG.observation.cameras:
        worker.push_image(camera, 100 * MS, np.zeros((96, 96, 3), np.uint8))
    worker.push_pose(100 * MS, np.r_[0.5, 0, 0.3, 1, 0, 0, 0])
    worker.push_width(100 * MS, 0.04)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    assert engine.planning.wait(20)
    yield worker, engine, chunks, thread
    engine.may_end.set()
    worker.close()
    thread.join(20)


def test_a_chunk_is_published_when_it_is_made(running):
    worker, engine, chunks, thread = running
    engine.may_end.set()
    while not chunks and thread.is_alive():
        thread.join(0.01)
    assert chunks[0].chunk_id == 0 and worker.next_chunk_id == 1


def test_what_is_being_made_when_the_node_is_shut_down_is_not_published(running):
    worker, engine, chunks, thread = running
    worker.close()
    engine.may_end.set()
    thread.join(20)
    assert not thread.is_alive() and chunks == [] and worker.core.counts.discarded == 1


def test_an_activation_does_not_end_between_the_look_at_it_and_the_sending(running):
    """Who has ended it knows that no chunk comes any more: its end waits for a chunk that is being sent."""
    worker, engine, chunks, _thread = running
    ended, ended_first = threading.Event(), []

    def end():
        worker.end()
        ended.set()

    def publish(chunk):
        threading.Thread(target=end, daemon=True).start()
        ended_first.append(ended.wait(0.3))
        chunks.append(chunk)

    worker._publish = publish
    engine.may_end.set()
    assert ended.wait(20)
    assert ended_first == [False] and len(chunks) == 1 and not worker.core.active


def test_a_seed_set_while_another_policy_is_loaded_holds_for_it_too(running):
    """It was made ready with the seed of the time when loading began."""
    worker, engine, _chunks, thread = running
    other = Engine()
    other.may_end.set()
    worker.reseed(7)
    engine.may_end.set()
    while not engine.seeds and thread.is_alive():
        thread.join(0.01)
    worker.swap(replace(worker.policy, engine=other))
    while worker.policy.engine is not other and thread.is_alive():
        thread.join(0.01)
    worker.close()
    thread.join(20)
    assert engine.seeds == [7] and other.seeds == [7]
