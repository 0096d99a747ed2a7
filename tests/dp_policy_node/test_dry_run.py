"""A dry run moves nothing, and overlapping windows encode each frame once; over real DDS and on a virtual clock."""

from dp_ros.messages import stamp_to_ns

CHUNKS = 6


def test_a_dry_run_plans_without_control_where_nothing_listens_and_encodes_each_frame_once(
    checkpoint, start_policy, virtual_cell
):
    folder = checkpoint(history=2)
    process = start_policy(
        folder, "dry_run:=true", "actions_per_chunk:=1", "use_sim_time:=true", "task:='stack the cubes'"
    )
    cell = virtual_cell(process)
    cell.until(lambda: cell.node.count_publishers("policy/dry_run_chunk"), "the node")
    assert cell.node.count_publishers("policy/chunk") == 0
    cell.find_each_other()
    observed = [cell.observe()]
    cell.let_pass(1.0)  # of this one no window can be made
    for number in range(CHUNKS):
        observed.append(cell.observe())
        cell.until(lambda n=number: len(cell.dry_chunks) > n, "a chunk of each observation")
    assert [stamp_to_ns(chunk.header.stamp) for chunk in cell.dry_chunks] == observed[1:]
    assert not cell.chunks
    cell.report(cell.dry_chunks[-1], executed=16)  # of the node that drives, with the same policy and counter
    cell.let_pass(0.3)
    cell.diagnose(
        lambda: "policy: chunks" in cell.statuses and cell.value("policy: chunks", "chunks") == str(CHUNKS),
        "diagnostics after the last chunk",
    )
    assert cell.statuses["policy: inference"].message.startswith(("DRY RUN", "nothing new"))
    assert cell.value("policy: inference", "task") == "stack the cubes"
    assert cell.value("policy: chunks", "reported") == "0" and not cell.ledgers, "nothing of it is executed"
    # Each window holds the frame of its time and that of 100 ms earlier, of two cameras.
    frames = {t - back for t in observed[1:] for back in (0, 100_000_000)}
    assert int(cell.value("policy: inference", "frames_encoded")) == 2 * len(frames) == 2 * (CHUNKS + 1)
    assert int(cell.value("policy: inference", "frames_encoded_in_vain")) == 0
    assert all(chunk.given == 0 for chunk in cell.dry_chunks), "nobody executes what a new chunk could go on from"


def test_an_added_latency_holds_each_chunk_back_on_the_cell_s_clock(checkpoint, start_policy, virtual_cell):
    cell = virtual_cell(start_policy(checkpoint(), "dry_run:=true", "added_latency_s:=0.3", "use_sim_time:=true"))
    cell.until(lambda: cell.node.count_publishers("policy/dry_run_chunk"), "the node")
    observed = cell.observe()
    while not cell.dry_chunks:
        cell.let_pass(0.1)
        now = cell.observe(20)
        assert now < observed + 100 * 10**9
    (chunk,) = cell.dry_chunks[:1]
    assert stamp_to_ns(chunk.published) >= stamp_to_ns(chunk.header.stamp) + 300_000_000
