import json
import subprocess
import sys

import pytest
from dp_bringup.cli import main

from dp_bringup import doctor


def test_this_machine_is_ready(tmp_path, capsys):
    assert main(["doctor", "--json", str(tmp_path / "doctor.json")]) == 0
    data = json.loads((tmp_path / "doctor.json").read_text())
    assert data["command"] == "doctor" and data["summary"]["ready"] is True
    names = {row["name"] for row in data["rows"]}
    assert {"python", "rclpy", "rmw", "dp_msgs", "gpu", "rendering", "dds profile", "disk"} <= names
    assert {"video", "push-t", "accelerate"} <= names
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


@pytest.mark.parametrize(
    ("module", "check", "cost"),
    [
        ("gym_pusht.envs.pusht", doctor.check_pusht, "dp eval pusht"),
        ("imageio_ffmpeg", doctor.check_video, "--videos"),
        ("imageio.v2", doctor.check_video, "--videos"),
    ],
)
def test_what_push_t_lacks_is_noticed(monkeypatch, module, check, cost):
    monkeypatch.setitem(sys.modules, module, None)
    finding = check()
    assert finding.state == doctor.WARN and cost in finding.cost
    assert "pip install" in finding.fix and "pip install" not in finding.found
    assert module.split(".")[0] in finding.found


@pytest.mark.parametrize("module", ["pinocchio", "daqp"])
def test_missing_inverse_kinematics_is_noticed(monkeypatch, module):
    assert doctor.check_kinematics().state == doctor.OK
    monkeypatch.setitem(sys.modules, module, None)
    finding = doctor.check_kinematics()
    assert finding.state == doctor.WARN and module in finding.found and "sim_franka_joint" in finding.cost


def test_accelerate_is_looked_up_among_the_installed_packages(monkeypatch, tmp_path):
    package = tmp_path / "accelerate-9.8.7.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: accelerate\nVersion: 9.8.7\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert (doctor.check_accelerate().state, doctor.check_accelerate().found) == (doctor.OK, "9.8.7")
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "empty")])
    assert doctor.check_accelerate().state == doctor.WARN


def test_without_permission_the_doctor_says_what_to_write_where():
    """In a child without privileges and with the limits of an ordinary login."""
    script = (
        "import json, os, resource\n"
        "from dp_bringup import doctor_real_time\n"
        "resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (8 << 20, 8 << 20))\n"
        "if os.geteuid() == 0:\n"
        "    os.setresuid(65534, 65534, 65534)\n"
        "found = (doctor_real_time.check_memory_lock(), doctor_real_time.check_real_time())\n"
        "print(json.dumps([finding.row() for finding in found]))\n"
    )
    # The interpreter of the probe must be one that nobody may start as well.
    script = script.replace("found =", "import sys; sys.executable = '/bin/false'\nfound =")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    memory, priority = json.loads(done.stdout)
    assert memory["state"] == priority["state"] == doctor.WARN
    assert memory["found"] == "refused (memlock limit 8192 KiB, needs unlimited)"
    assert priority["found"] == "SCHED_FIFO 40 refused (rtprio limit 0)"
    for finding in (memory, priority):
        assert "memlock unlimited" in finding["fix"] and "rtprio 90" in finding["fix"] and finding["cost"]
