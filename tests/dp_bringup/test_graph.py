import pytest
import yaml
from dp_bringup.graph import MODES, build_graph, options_of
from dp_core.configuration import ConfigurationError
from dp_core.contract import load_contract


def names(nodes):
    return {node.executable for node in nodes}


def test_teleop_graph_of_the_simulated_cell():
    nodes = build_graph("teleop", cell="sim_franka")
    assert names(nodes) == {"sim_node", "control_node", "teleop_node", "recorder_node", "operator_node"}
    for node in nodes:
        assert node.parameters.get("use_sim_time", False) == (node.executable != "sim_node")
        assert node.parameters["cell"] == "sim_franka"


def test_deploy_graph_has_the_policy_and_no_operator(tmp_path):
    nodes = build_graph("deploy", cell="sim_franka", checkpoint=str(tmp_path))
    assert names(nodes) == {"sim_node", "control_node", "policy_node", "recorder_node", "teleop_node"}


def test_the_policy_is_told_what_was_chosen(tmp_path):
    choices = {
        "runtime": "reference",
        "continuity": "none",
        "policy_seed": "5",
        "dry_run": "true",
        "actions_per_chunk": "4",
    }
    nodes = build_graph("deploy", cell="sim_franka", checkpoint=str(tmp_path), seed="3", autostart="false", **choices)
    policy = next(node for node in nodes if node.executable == "policy_node").parameters
    assert (policy["runtime"], policy["continuity"], policy["actions_per_chunk"]) == ("reference", "none", 4)
    assert policy["dry_run"] is True and policy["autostart"] is False
    assert policy["seed"] == 5, "the option seed is that of the scene"


def test_a_scored_policy_runs_without_the_node_that_a_person_takes_over_with(tmp_path):
    alone = build_graph("deploy", cell="sim_franka", checkpoint=str(tmp_path), teleop="false")
    assert "teleop_node" not in names(alone)
    safety = {**load_contract("sim_franka").to_dict()["safety"], "takeover": False}
    nodes = build_graph("deploy", cell=write_cell(tmp_path, safety=safety), checkpoint=str(tmp_path))
    assert "teleop_node" not in names(nodes), "nothing asks for it"


def write_cell(folder, **changes):
    path = folder / "cell.yaml"
    path.write_text(yaml.safe_dump({**load_contract("sim_franka").to_dict(), **changes}))
    return str(path)


def test_a_cell_is_simulated_by_its_name_wherever_its_file_lies(tmp_path):
    assert "sim_node" in names(build_graph("teleop", cell=write_cell(tmp_path)))


def test_a_bad_contract_is_refused_before_anything_starts(tmp_path):
    with pytest.raises(ConfigurationError, match=r"cell\.yaml: colour: unknown key"):
        build_graph("teleop", cell=write_cell(tmp_path, colour="red"))


def test_real_cell_starts_no_simulator(tmp_path):
    nodes = build_graph("teleop", cell=write_cell(tmp_path, name="lab_franka"))
    assert names(nodes) == {"control_node", "teleop_node", "recorder_node"}
    assert not any(node.parameters["use_sim_time"] for node in nodes)


def test_text_values_as_launch_gives_them():
    nodes = build_graph("teleop", cell="sim_franka", rate="2.5", seed="7", lock_step="true", operator="false")
    sim = next(node for node in nodes if node.executable == "sim_node")
    assert sim.parameters["rate"] == 2.5 and sim.parameters["seed"] == 7 and sim.parameters["lock_step"] is True
    assert "operator_node" not in names(nodes)


@pytest.mark.parametrize(
    ("mode", "choices", "named"),
    [
        ("fly", {}, "teleop, deploy"),
        ("deploy", {}, "checkpoint"),
        ("teleop", {"rate": "fast"}, "rate: 'fast'"),
        ("teleop", {"lock_step": "maybe"}, "true, false"),
        ("teleop", {"operator": "maybe"}, "auto, true, false"),
        ("teleop", {"speed": 1}, "'speed'"),
        ("teleop", {"checkpoint": "x"}, "'checkpoint'"),
    ],
)
def test_bad_choices_are_named(mode, choices, named):
    with pytest.raises(ConfigurationError, match=named):
        build_graph(mode, **choices)


@pytest.mark.parametrize("mode", MODES)
def test_every_option_is_described(mode):
    assert all(option.description for option in options_of(mode))


def test_cameras_that_the_contract_names_get_their_node(tmp_path):
    real = write_cell(tmp_path, name="lab", camera_devices={"front": {"serial_number": "819612073628"}})
    choices = {"cell": real, "simulate": "false"}
    camera = next(node for node in build_graph("teleop", **choices) if node.executable == "camera_node")
    assert (camera.package, camera.module, camera.parameters) == ("dp_camera", "dp_camera.node", {"cell": real})
    assert "camera_node" in names(build_graph("deploy", checkpoint=str(tmp_path), **choices))
    assert "camera_node" not in names(build_graph("teleop", cameras="false", **choices))
    assert "camera_node" not in names(build_graph("teleop", cell=real, simulate="true")), "the simulator has its own"
    assert "camera_node" not in names(build_graph("teleop", cell="fr3_crisp")), "realsense-ros, as before"
