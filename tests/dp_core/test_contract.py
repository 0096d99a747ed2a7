"""The contract names each mistake: the key, the value, what is valid."""

import copy

import pytest
import yaml
from dp_core.contract import Contract, ContractError, config_directory, contract_difference, load_contract


@pytest.fixture
def data():
    return copy.deepcopy(load_contract("sim_franka").to_dict())


def test_every_shipped_cell_loads():
    names = [path.stem for path in (config_directory() / "cells").glob("*.yaml")]
    assert "sim_franka" in names
    for name in names:
        assert load_contract(name).name == name


def test_round_trip_and_hash(data):
    contract = load_contract("sim_franka")
    again = Contract.from_dict(data)
    assert again == contract and again.hash == contract.hash
    data["action"]["rate_hz"] = 20.0
    assert Contract.from_dict(data).hash != contract.hash


CASES = [
    (lambda d: d["cameras"]["front"].pop("rate_hz"), r"cameras\.front\.rate_hz: missing key"),
    (lambda d: d.pop("limits"), r"limits: missing key"),
    (lambda d: d["streams"].pop("ee_pose"), r"streams\.ee_pose: missing key; required streams: "),
    (lambda d: d["action"].update(rate_hz="ten"), r"action\.rate_hz: expected float, got 'ten'"),
    (lambda d: d["action"].update(rate_hz=-1), r"action\.rate_hz: -1.0 is out of range; valid: 0.5 to 200"),
    (lambda d: d["gripper"].update(force_N=float("nan")), r"gripper\.force_N: must be finite"),
    (lambda d: d["cameras"]["wrist"].update(recording="png"), r"recording: 'png' is not valid; valid: raw, jpeg"),
    (lambda d: d["observation"].update(cameras=["side"]), r"'side' is not a camera; valid: front, wrist"),
    (lambda d: d.update(colour="red"), r"colour: unknown key; valid keys: action, "),
    (lambda d: d["limits"].update(workspace_min_m=[1, 0, 0]), r"workspace_min_m"),
    (lambda d: d["limits"].update(workspace_min_m=[0, 0]), r"workspace_min_m: expected 3 values, got 2"),
    (lambda d: d["streams"]["gripper"].update(joint_names=[]), r"streams\.gripper\.joint_names"),
    (lambda d: d["teleop"].update(clutch_button=0), r"teleop\.clutch_button: 0 is teleop\.gripper_button too"),
    (lambda d: d["safety"].update(table_height_m=0.6), r"safety\.table_height_m: 0\.6 must be below .* 0\.6"),
    (lambda d: d["robot"].update(collision_force_N=[30] * 6), r"robot\.collision_torque_Nm .*: give both or none"),
    (
        lambda d: d["robot"].update(collision_torque_Nm=[30] * 7, collision_force_N=[30] * 6),
        r"robot\.collision_force_N: needs adapter franka, got none",
    ),
    (lambda d: d["robot"].update(self_collision=True), r"robot\.self_collision: needs description"),
    (lambda d: d["robot"].update(back_end="effort"), r"robot\.description: missing"),
    (lambda d: d["impedance"].update(damping="none"), r"impedance\.damping: 'none' is not valid; valid: diagonal"),
]


@pytest.mark.parametrize(("spoil", "message"), CASES)
def test_bad_contracts_name_the_key(data, spoil, message):
    spoil(data)
    with pytest.raises(ContractError, match=message):
        Contract.from_dict(data)


def test_unknown_cell_lists_the_valid_ones():
    with pytest.raises(ContractError, match=r"no cell 'nowhere'; valid: .*sim_franka"):
        load_contract("nowhere")


def test_a_file_that_is_not_yaml_is_named(tmp_path):
    path = tmp_path / "cell.yaml"
    path.write_text("name: [")
    with pytest.raises(ContractError, match=r"cell\.yaml: not valid YAML: [^\n]*line 1[^\n]*$"):
        load_contract(path)


def test_difference_is_readable_and_ignores_how_a_person_drives(data, tmp_path):
    data["cameras"]["front"]["width"] = 128
    data["teleop"]["deadband"] = 0.2
    other = Contract.from_dict(data)
    assert contract_difference(load_contract("sim_franka"), other) == ["cameras.front.width: 96 != 128"]
    path = tmp_path / "cell.yaml"
    path.write_text(yaml.safe_dump(data))
    assert load_contract(path) == other


def test_how_well_a_latency_is_known_is_kept_but_is_no_difference(data):
    contract = Contract.from_dict(data)
    for place in (data["cameras"]["front"], data["streams"]["ee_pose"], data["action"], data["gripper"]):
        place["latency_uncertainty_s"] = 0.002
    known = Contract.from_dict(data)
    assert known.cameras["front"].latency_uncertainty_s == known.gripper.latency_uncertainty_s == 0.002
    assert contract_difference(contract, known) == []
    data["action"]["latency_s"] = 0.05
    assert contract_difference(contract, Contract.from_dict(data)) == ["action.latency_s: 0.0 != 0.05"]
    assert contract_difference(contract, Contract.from_dict(data), latencies=False) == []
    data["action"]["latency_uncertainty_s"] = -0.001
    with pytest.raises(ContractError, match=r"action\.latency_uncertainty_s: -0.001 is out of range"):
        Contract.from_dict(data)
