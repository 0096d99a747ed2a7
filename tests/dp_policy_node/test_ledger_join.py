"""What the node knows of a chunk and what control reports of it become one ledger."""

import numpy as np
import pytest
from dp_core.actions import encode_action
from dp_core.contract import load_contract
from dp_policy_node.chunk_message import Ledger, chunk_message
from dp_policy_node.ledger_join import LedgerJoin
from dp_ros.messages import ns_to_stamp, stamp_to_ns

from dp_msgs.msg import ChunkReport

MS = 1_000_000
CONTRACT = load_contract("sim_franka")


def chunk(number, policy="abc"):
    poses = np.tile([0.5, 0, 0.3, 1, 0, 0, 0], (4, 1))
    actions = encode_action(poses, np.full(4, 0.04)).astype(np.float32)
    times = [t * MS for t in (1000, 950, 990, 1005, 1006, 1007, 1040)]
    message = chunk_message(actions, CONTRACT, Ledger(*times, 4.0, 30.0, 2), number, 2, policy)
    message.published = ns_to_stamp(1041 * MS)
    return message


def report(number, policy="abc", **fields):
    return ChunkReport(chunk_id=number, policy_id=policy, **fields)


def test_a_ledger_holds_the_whole_way_from_capture_to_execution():
    join = LedgerJoin()
    assert join.add(chunk(7)) == []
    ledger = join.complete(
        report(
            7, received=ns_to_stamp(1045 * MS), first_executed=ns_to_stamp(1090 * MS), late=1, executed=2, superseded=1
        )
    )
    names = ("capture_oldest", "capture_newest", "received", "aligned", "inference_started", "inference_ended")
    names += ("published", "control_received", "first_executed")
    assert [stamp_to_ns(getattr(ledger, name)) // MS for name in names] == [
        *(950, 990, 1005, 1006, 1007, 1040),
        *(1041, 1045, 1090),
    ]
    assert (ledger.actions, ledger.given, ledger.late, ledger.executed, ledger.superseded) == (4, 2, 1, 2, 1)
    assert (ledger.encode_ms, ledger.denoise_ms, ledger.stop_reason) == (4.0, 30.0, "")
    assert join.age_ms() == pytest.approx((100, 100))
    assert (join.counts.reports, join.counts.late, join.counts.executed, join.counts.stopped) == (1, 1, 2, 0)


def test_a_report_of_another_policy_or_a_second_one_is_nobodys():
    join = LedgerJoin()
    join.add(chunk(7))
    assert join.complete(report(7, "rival")) is None
    assert join.complete(report(7, stop_reason="all 4 actions are late")).stop_reason == "all 4 actions are late"
    assert join.complete(report(7)) is None
    assert (join.counts.stopped, join.counts.stop_reason) == (1, "all 4 actions are late")


def test_a_chunk_that_is_never_reported_goes_out_without():
    join = LedgerJoin(capacity=2)
    assert [join.add(chunk(number)) for number in (1, 2)] == [[], []]
    (gone,) = join.add(chunk(3))
    assert gone.chunk_id == 1 and stamp_to_ns(gone.control_received) == 0 == gone.executed
    assert join.complete(report(1)) is None
    assert [ledger.chunk_id for ledger in join.flush()] == [2, 3] and join.flush() == []
