from pathlib import Path

import pytest
import yaml
from dp_bringup.finding import OK, WARN
from dp_core.contract import load_contract

from dp_bringup import doctor_camera

pytest.importorskip("pyrealsense2")


def test_cells_are_compared_with_what_is_connected(tmp_path, monkeypatch):
    plain = load_contract(Path(__file__).parents[2] / "config" / "cells" / "sim_franka.yaml").to_dict()
    cells = tmp_path / "cells"
    cells.mkdir()
    monkeypatch.setenv("DP_CONFIG_DIR", str(tmp_path))
    finding = doctor_camera.check_camera_devices()
    assert finding.state == OK and "pyrealsense2" in finding.found

    cell = {**plain, "camera_devices": {"front": {"serial_number": "000000000000"}}}
    (cells / "lab.yaml").write_text(yaml.safe_dump(cell))
    (cells / "broken.yaml").write_text("name: broken")
    assert doctor_camera.wanted_cameras() == [("lab", "front", "000000000000")]
    finding = doctor_camera.check_camera_devices()
    assert finding.state == WARN and "not found: lab: front (000000000000)" in finding.found
