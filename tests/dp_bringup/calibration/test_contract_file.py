"""Latencies go into a contract's file: two numbers change, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from dp_bringup.calibration.contract_file import contract_path, text_difference, with_latency, write_contract
from dp_bringup.calibration.estimate import CalibrationError, LatencyEstimate
from dp_bringup.calibration.outcome import Destination
from dp_core.configuration import ConfigurationError
from dp_core.contract import Contract, config_directory, load_contract

TEXT = contract_path("sim_franka").read_text()
PLACES = [("cameras", "front"), ("cameras", "wrist"), ("action",), ("gripper",), ("streams", "ee_pose")]


def estimate(place: tuple[str, ...], latency_s: float = 0.04123, uncertainty_s: float = 0.0012) -> LatencyEstimate:
    return LatencyEstimate(place, latency_s, np.array([latency_s]), uncertainty_s)


@pytest.mark.parametrize("cell", sorted(path.stem for path in (config_directory() / "cells").glob("*.yaml")))
def test_every_shipped_cell_takes_every_latency_and_keeps_its_comments(cell):
    text = contract_path(cell).read_text()
    contract = load_contract(cell)
    places = [("cameras", name) for name in contract.cameras] + [("action",), ("gripper",)]
    changed = text
    for place in places:
        changed = with_latency(changed, estimate(place))
    result = Contract.from_dict(yaml.safe_load(changed))
    assert result.action.latency_s == result.gripper.latency_s == 0.0412
    assert result.action.latency_uncertainty_s == 0.0012
    assert {camera.latency_s for camera in result.cameras.values()} == {0.0412}
    old, new = text.splitlines(), changed.splitlines()
    kept = [line for line in new if "latency_s" not in line and "latency_uncertainty_s" not in line]
    assert kept == [line for line in old if "latency_s" not in line], "other lines are as they were"
    assert [line.split("#")[1] for line in old if "#" in line] == [line.split("#")[1] for line in new if "#" in line]
    # A second calibration changes the numbers where they stand.
    again = changed
    for place in places:
        again = with_latency(again, estimate(place, 0.05, 0.002))
    assert len(again.splitlines()) == len(new)


@pytest.mark.parametrize("place", PLACES)
def test_only_the_named_place_changes(place):
    wanted = yaml.safe_load(TEXT)
    node = wanted
    for name in place:
        node = node[name]
    node.update(latency_s=0.0412, latency_uncertainty_s=0.0012)
    assert yaml.safe_load(with_latency(TEXT, estimate(place))) == wanted


def test_comments_keep_their_column():
    line = next(li for li in with_latency(TEXT, estimate(("cameras", "front"))).splitlines() if "0.0412" in li)
    old = next(li for li in TEXT.splitlines() if "latency_s: 0.0 " in li)
    assert line.index("#") == old.index("#")


def test_flow_style_and_a_file_without_an_end_of_line():
    flow = yaml.safe_load(TEXT)
    text = TEXT.replace(
        TEXT[TEXT.index("gripper:\n  min") : TEXT.index("limits:")],
        "gripper: {min_width_m: 0.0, max_width_m: 0.08, speed_m_s: 0.15, force_N: 40.0, latency_s: 0.0}  # ours\n",
    ).rstrip("\n")
    assert yaml.safe_load(text) == flow
    changed = with_latency(text, estimate(("gripper",)))
    assert "latency_s: 0.0412, latency_uncertainty_s: 0.0012}  # ours" in changed


def test_what_cannot_be_changed_safely_is_refused():
    aliased = TEXT.replace("  front:\n", "  front: &eye\n", 1)
    start = aliased.index("  wrist:\n")
    aliased = aliased[:start] + "  wrist: *eye\n\n" + aliased[aliased.index("streams:") :]
    with pytest.raises(CalibrationError, match=r"cameras.wrist: .*cannot be changed safely.*by hand"):
        with_latency(aliased, estimate(("cameras", "wrist")))
    with pytest.raises(CalibrationError, match=r"no section cameras.side"):
        with_latency(TEXT, estimate(("cameras", "side")))
    with pytest.raises(ConfigurationError, match=r"new action.latency_s: action.latency_s: -0.02 is out of range"):
        with_latency(TEXT, estimate(("action",), -0.02))


def test_a_written_file_replaces_the_old_one_and_keeps_it(tmp_path):
    path = tmp_path / "cell.yaml"
    path.write_text(TEXT)
    path.chmod(0o640)
    changed = with_latency(TEXT, estimate(("action",)))
    backup = write_contract(path, changed)
    assert path.read_text() == changed and backup is not None and backup.read_text() == TEXT
    assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, backup.name])
    other = tmp_path / "new" / "cell.yaml"
    assert write_contract(other, changed, path) is None and other.read_text() == changed


def test_a_file_behind_a_link_is_written_and_the_link_stays(tmp_path):
    path, link = tmp_path / "cells" / "cell.yaml", tmp_path / "cell.yaml"
    path.parent.mkdir()
    path.write_text(TEXT)
    link.symlink_to(path)
    changed = with_latency(TEXT, estimate(("action",)))
    backup = write_contract(link, changed)
    assert link.is_symlink() and path.read_text() == changed
    assert backup is not None and backup.parent == path.parent and backup.read_text() == TEXT


def test_the_difference_shows_the_changed_lines():
    lines = text_difference(TEXT, with_latency(TEXT, estimate(("gripper",))), "cell.yaml").splitlines()
    assert [line for line in lines if line.startswith(("+ ", "- "))] == [
        "-  latency_s: 0.0",
        "+  latency_s: 0.0412",
        "+  latency_uncertainty_s: 0.0012",
    ]


def test_a_shipped_cell_is_only_changed_when_told_so(tmp_path):
    with pytest.raises(CalibrationError, match=r"belongs to this software: .*--dry-run.*--out.*--write-shipped"):
        Destination("sim_franka").check()
    Destination("sim_franka", dry_run=True).check()
    Destination("sim_franka", shipped=True).check()
    Destination("sim_franka", out=tmp_path / "mine.yaml").check()
    (tmp_path / "mine.yaml").write_text("calibrated: yesterday\n")
    with pytest.raises(
        CalibrationError, match=r"exists, and what was calibrated in it would be lost: .*--cell .*mine.yaml"
    ):
        Destination("sim_franka", out=tmp_path / "mine.yaml").check()
    mine = str(tmp_path / "mine.yaml")
    Destination(mine, out=tmp_path / "mine.yaml").check()
    Destination(mine).check()
    with pytest.raises(CalibrationError, match=r"--out .* valid: the name of a .yaml file"):
        Destination("sim_franka", out=tmp_path).check()
