"""A managed policy node from its first transition to its last, over real DDS and on a virtual clock."""

import shutil

from dp_ros.messages import stamp_to_ns

from dp_msgs.msg import CommandState

MS = 10**6


def stamps(chunks):
    return [stamp_to_ns(chunk.header.stamp) for chunk in chunks]


def configure_the_hard_way(cell, good):
    """What is wrong leaves it unconfigured and says why; the second try is a good one."""
    assert cell.change("configure") == (False, "unconfigured")
    status = "policy: inference"
    cell.diagnose(lambda: status in cell.statuses and "nowhere" in cell.statuses[status].message, "the reason")
    assert cell.set("checkpoint", str(good)) == ""
    assert cell.node.count_publishers("policy/chunk") == 0, "whoever waits for the policy must not see it before it is"
    assert cell.change("configure") == (True, "inactive")
    cell.until(lambda: cell.node.count_publishers("policy/chunk") == 1, "the publisher")
    assert "clean it up first" in cell.set("dry_run", True)


def test_a_managed_node_infers_only_while_active_and_in_mode_policy(checkpoint, start_policy, virtual_cell, tmp_path):
    good = checkpoint()
    process = start_policy(tmp_path / "nowhere", "autostart:=false", "use_sim_time:=true")
    cell = virtual_cell(process)
    configure_the_hard_way(cell, good)
    cell.mode = CommandState.POLICY
    cell.observe()
    cell.let_pass(0.3)
    cell.sampling = False
    assert cell.change("activate") == (True, "active")
    first = cell.observe()
    cell.until(lambda: cell.chunks, "a chunk once active")
    assert cell.change("deactivate") == (True, "inactive")
    cell.observe(2000)
    cell.let_pass(0.3)
    cell.mode = CommandState.HOLD
    cell.let_pass(1.0)  # the node must have heard it before it is active again
    assert cell.change("activate") == (True, "active")
    cell.observe()
    cell.let_pass(0.3)
    cell.mode = CommandState.POLICY
    second = cell.observe()
    cell.until(lambda: len(cell.chunks) == 2, "a chunk once control is in mode POLICY")
    assert stamps(cell.chunks) == [first, second]
    assert [chunk.chunk_id for chunk in cell.chunks] == [0, 1]
    assert cell.change("cleanup") == (False, "active"), "an active node is deactivated first"
    assert cell.change("deactivate")[0] and cell.change("cleanup") == (True, "unconfigured")
    cell.until(lambda: cell.node.count_publishers("policy/chunk") == 0, "the end of the publisher")
    assert cell.change("unconfigured_shutdown") == (True, "finalized")
    process.terminate()
    assert process.wait(60) == 0


def test_reports_join_the_ledger_and_a_refusal_drops_the_plan_and_another_policy_takes_over(
    checkpoint, start_policy, virtual_cell, tmp_path
):
    good, better = checkpoint(), checkpoint(name="better")
    damaged = tmp_path / "damaged"
    shutil.copytree(better, damaged)
    (damaged / "model.safetensors").write_bytes(b"no weights")
    cell = virtual_cell(start_policy(good, "use_sim_time:=true"))
    cell.mode = CommandState.POLICY
    first = cell.observe()
    cell.until(lambda: cell.chunks, "the first chunk")
    cell.observe()
    cell.let_pass(0.3)
    third = cell.observe()
    cell.let_pass(0.5)  # images and reports are separate queues
    # Eight actions of the first chunk are to be executed: only its refusal makes another one due.
    cell.report(cell.chunks[0], stop_reason="all 16 actions are late", late=16)
    cell.until(lambda: len(cell.chunks) == 2 and cell.ledgers, "a new chunk after the refusal")
    assert stamps(cell.chunks) == [first, third]
    ledger, chunk = cell.ledgers[0], cell.chunks[0]
    assert (ledger.chunk_id, ledger.policy_id, ledger.late, ledger.actions) == (0, chunk.policy_id, 16, 16)
    assert ledger.published == chunk.published and ledger.denoise_ms == chunk.denoise_ms > 0
    assert stamp_to_ns(ledger.control_received) == stamp_to_ns(chunk.published) + 5 * MS
    assert ledger.stop_reason == "all 16 actions are late"
    refuse_bad_checkpoints(cell, good, damaged)
    take_over(cell, better)


def refuse_bad_checkpoints(cell, good, damaged):
    """What can be seen at once is refused at once; what cannot is taken back, and the old policy goes on."""
    assert "no checkpoint folder" in cell.set("checkpoint", str(damaged.parent / "nowhere"))
    before = len(cell.chunks)
    assert cell.set("checkpoint", str(damaged)) == ""
    cell.until(lambda: cell.get("checkpoint") == str(good), "the checkpoint in use")
    cell.diagnose(lambda: "cannot be loaded" in cell.value("policy: inference", "swap_problem"), "the reason")
    assert cell.value("policy: chunks", "plans_dropped") == "1"
    cell.observe()
    cell.until(lambda: len(cell.chunks) > before, "a chunk of the old policy")
    assert cell.chunks[-1].policy_id == cell.chunks[0].policy_id


def take_over(cell, better):
    """The new policy makes the next chunk."""
    old = cell.chunks[-1]
    before = len(cell.chunks)
    assert cell.set("checkpoint", str(better)) == ""
    cell.diagnose(lambda: cell.value("policy: inference", "checkpoint") == str(better), "the new checkpoint")
    cell.observe()
    cell.until(lambda: len(cell.chunks) > before, "a chunk of the new policy")
    assert cell.chunks[before].policy_id != old.policy_id and cell.chunks[before].chunk_id == old.chunk_id + 1
    assert cell.get("checkpoint") == str(better)
