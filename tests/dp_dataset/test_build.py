import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from dp_dataset.bag_reader import BagError
from dp_dataset.build import BuildError, build_store, find_bags
from dp_dataset.store import open_store


def bytes_of(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def bags(record, tmp_path):
    for index, outcome in enumerate(["success", "failure", "success", "success"]):
        record(tmp_path / "bags", seconds=1.0 + 0.5 * index, outcome=outcome, motion_offset_s=float(index))
    return find_bags(tmp_path / "bags")


def test_takes_the_chosen_outcomes_and_says_what_it_left_out(bags, tmp_path):
    calls = []
    summary = build_store(
        bags, tmp_path / "d.zarr", workers=1, progress=lambda done, total, row: calls.append((done, total))
    )
    assert [row.rejected for row in summary.rows] == ["", "outcome failure", "", ""]
    assert [row.steps for row in summary.rows] == [10, 0, 20, 25]
    assert summary.episodes == 3 and summary.steps == 55
    assert calls[-1] == (4, 4)
    store = open_store(tmp_path / "d.zarr")
    assert store.episode_ends.tolist() == [10, 30, 55]
    assert [e.seed for e in store.episodes] == [3, 3, 3]
    # Episode 3 starts 2 s into the motion: rows belong to the right episode.
    np.testing.assert_allclose(store.proprioception[10, 0], 0.4 + 0.02 * 2, atol=1e-6)


def test_same_bags_give_the_same_bytes_in_any_order_and_number_of_workers(bags, tmp_path):
    build_store(bags, tmp_path / "a.zarr", workers=1)
    build_store(bags[::-1], tmp_path / "b.zarr", workers=2)
    first, second = bytes_of(tmp_path / "a.zarr"), bytes_of(tmp_path / "b.zarr")
    assert first and first == second


def test_adding_a_bag_does_not_redo_the_others(bags, tmp_path):
    build_store(bags[:3], tmp_path / "d.zarr", workers=1)
    summary = build_store(bags, tmp_path / "d.zarr", workers=1)
    assert [row.reused for row in summary.rows] == [True, False, True, False]
    build_store(bags, tmp_path / "fresh.zarr", workers=1)
    assert bytes_of(tmp_path / "d.zarr") == bytes_of(tmp_path / "fresh.zarr")


def test_a_relabelled_episode_leaves_the_store(bags, tmp_path):
    build_store(bags, tmp_path / "d.zarr", workers=1)
    path = bags[0] / "episode.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "outcome": "failure"}))
    summary = build_store(bags, tmp_path / "d.zarr", workers=1)
    assert summary.rows[0].rejected == "outcome failure" and summary.episodes == 2


def test_bad_verdicts_are_left_out(bags, tmp_path):
    path = bags[0] / "episode.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "verdict": "bad"}))
    summary = build_store(bags, tmp_path / "d.zarr", workers=1)
    assert summary.rows[0].rejected == "verdict bad"


def test_a_missing_stream_stops_the_build_and_leaves_nothing_behind(record, bags, tmp_path):
    broken = record(tmp_path / "bags", without=("robot/ee_pose",), seconds=0.5)
    for workers in (1, 2):
        with pytest.raises(BagError, match=rf"{broken.folder.name}.*stream ee_pose.*robot/ee_pose"):
            build_store([*bags, broken.folder], tmp_path / "d.zarr", workers=workers)
    assert {p.name for p in tmp_path.iterdir()} == {"bags"}


def test_another_contract_is_refused_with_the_difference(record, cell, contract, bags, tmp_path):
    changed = dataclasses.replace(contract, action=dataclasses.replace(contract.action, latency_s=0.05))
    other = record(tmp_path / "bags", cell=type(cell)(changed), seconds=0.5)
    with pytest.raises(BuildError) as caught:
        build_store([*bags, other.folder], tmp_path / "d.zarr", workers=1)
    assert other.folder.name in str(caught.value)
    assert "action.latency_s: 0.0 != 0.05" in str(caught.value)
    assert "only latencies differ: say whose hold for all bags (--cell)" in str(caught.value)


def test_the_latencies_of_a_given_contract_hold_for_bags_of_before(contract, bags, tmp_path):
    calibrated = dataclasses.replace(contract, action=dataclasses.replace(contract.action, latency_s=0.05))
    summary = build_store(bags, tmp_path / "d.zarr", calibrated, workers=1)
    assert summary.contract_hash == calibrated.hash and summary.episodes == 3
    before = build_store(bags, tmp_path / "e.zarr", workers=1)
    actions = [open_store(one.path).action for one in (summary, before)]
    # The cell moves at 0.02 m/s along x: the command that shows at an instant was sent 50 ms before it.
    shift = actions[1][5:10, 0] - actions[0][5:10, 0]
    np.testing.assert_allclose(shift, 0.02 * 0.05, atol=1e-5)
    wider = dataclasses.replace(calibrated, action=dataclasses.replace(calibrated.action, rate_hz=5.0))
    with pytest.raises(BuildError, match=r"action.rate_hz: 5.0 != 10.0$"):
        build_store(bags, tmp_path / "f.zarr", wider, workers=1)


def test_an_episode_with_too_little_valid_data_is_rejected_with_the_reason(record, tmp_path):
    def drop(t_ns, topic, message):
        frame = (t_ns // 100_000_000) % 10
        return None if "front" in topic and 2 <= frame < 8 else (t_ns, topic, message)

    record(tmp_path / "bags", seconds=3.0, change=drop)
    record(tmp_path / "bags", seconds=1.0)
    summary = build_store(find_bags(tmp_path / "bags"), tmp_path / "d.zarr", workers=1)
    assert summary.rows[0].rejected.startswith("only ")
    assert "camera/front" in summary.rows[0].rejected
    assert summary.episodes == 1


def test_nothing_usable_is_an_error_that_says_why(record, tmp_path):
    record(tmp_path / "bags", seconds=0.5, outcome="failure")
    with pytest.raises(BuildError, match="none of 1 bags can be used: outcome failure"):
        build_store(find_bags(tmp_path / "bags"), tmp_path / "d.zarr", workers=1)
    with pytest.raises(BuildError, match="no bags were given"):
        build_store([], tmp_path / "d.zarr")


def test_discarded_episodes_are_not_found(record, tmp_path):
    record(tmp_path / "bags", seconds=0.3, outcome="discard")
    kept = record(tmp_path / "bags", seconds=0.3)
    assert find_bags(tmp_path / "bags") == [kept.folder]
