import json

import pytest
from dp_bringup.cli import main

from dp_bringup import doctor


def test_this_machine_is_ready(tmp_path, capsys):
    assert main(["doctor", "--json", str(tmp_path / "doctor.json")]) == 0
    data = json.loads((tmp_path / "doctor.json").read_text())
    assert data["command"] == "doctor" and data["summary"]["ready"] is True
    assert {"python", "rclpy", "rmw", "dp_msgs", "gpu", "rendering", "dds profile", "disk"} <= {
        row["name"] for row in data["rows"]
    }
    assert "versions" in data and data["machine"]["cores"] >= 1


@pytest.mark.parametrize("finding", doctor.examine(), ids=lambda finding: finding.name)
def test_whatever_is_not_ok_says_what_it_costs_and_how_to_get_it(finding):
    assert finding.state in (doctor.OK, doctor.WARN, doctor.MISSING)
    assert finding.state == doctor.OK or (finding.cost and finding.fix)


def test_small_dds_segment_is_noticed(tmp_path, monkeypatch):
    profile = tmp_path / "profile.xml"
    profile.write_text("<profiles><segment_size>524288</segment_size></profiles>")
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(profile))
    assert doctor.check_dds_profile().state == doctor.WARN
    profile.write_text("not xml")
    assert doctor.check_dds_profile().state == doctor.MISSING


def test_broken_rendering_is_noticed(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nonsense")
    assert doctor.check_rendering().state == doctor.MISSING
