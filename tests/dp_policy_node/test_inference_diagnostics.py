"""What the diagnostics warn of."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from dp_core.contract import load_contract
from dp_policy.config import PolicyConfig
from dp_policy_node.inference_core import InferenceCore
from dp_policy_node.inference_diagnostics import InferenceDiagnostics
from dp_policy_node.ledger_join import LedgerJoin
from rclpy.clock import Clock

MS = 1_000_000
CONTRACT = load_contract("sim_franka")  # actions at 10 Hz


class Node:
    """Takes what is published."""

    def __init__(self):
        self.sent = []

    def create_publisher(self, _type, _topic, _profile):
        return SimpleNamespace(publish=self.sent.append)

    def get_clock(self):
        return Clock()


def inference_status(budget_ms, prefix=8, continuity="prefix", active=True):
    """The status `policy: inference` of a policy whose chunks take so long."""
    seen = {"cameras": ["front", "wrist"]}
    config = PolicyConfig.from_dict({"name": "test", "observation": seen, "action": {"prefix": prefix}})
    core = InferenceCore(CONTRACT, config, 8, 10 * MS, 10.0, executes=True)
    if active:
        core.begin(0, 0.0)
    core.schedule.budget_ns = budget_ms * MS - round(1e9 * CONTRACT.action.latency_s)
    loaded = SimpleNamespace(config=config, policy_id="test", policy=SimpleNamespace(continuity=continuity))
    engine = SimpleNamespace(description="test", latency_s=0.01)

    class Worker:
        policy = SimpleNamespace(loaded=loaded, engine=engine, folder="")
        encode_ms = denoise_ms = ()

        def guarded(self):
            return nullcontext(core)

    node = Node()
    streams = SimpleNamespace(refused={})
    InferenceDiagnostics(node, CONTRACT).publish(Worker(), LedgerJoin(), streams, lambda active: "well", {})
    return node.sent[0].status[0]


def test_more_late_actions_than_the_policy_was_trained_to_be_given_are_a_warning():
    status = inference_status(budget_ms=1000)
    assert status.level == DiagnosticStatus.WARN
    assert status.message.startswith("n_late 10 exceeds the 8 actions that this policy was trained to be given: ")


@pytest.mark.parametrize(
    "changes",
    [{"budget_ms": 800}, {"continuity": "guided"}, {"prefix": 0, "continuity": "warm_start"}, {"active": False}],
)
def test_as_many_as_it_was_trained_for_or_another_continuity_are_none(changes):
    status = inference_status(**{"budget_ms": 1000, **changes})
    assert status.level == DiagnosticStatus.OK and status.message == "well"
