"""What is refused before a policy drives, without a node around it."""

import pytest
import torch
from dp_core.configuration import ConfigurationError
from dp_core.contract import load_contract
from dp_policy.checkpoint import MODEL_FILE, load_checkpoint
from dp_policy.runtime.artefact import export_policy
from dp_policy_node.loaded_engine import EngineOptions, check_checkpoint, prepare_policy


def test_a_damaged_export_is_refused_as_a_configuration(checkpoint, tmp_path):
    threads = torch.get_num_threads()
    export_policy(load_checkpoint(checkpoint()), tmp_path / "export", threads, "reference")
    weights = tmp_path / "export" / MODEL_FILE
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ConfigurationError, match="is not what was exported"):
        prepare_policy(str(tmp_path / "export"), load_contract("sim_franka"), EngineOptions(num_threads=threads))


def test_a_checkpoint_from_before_a_calibration_says_how_to_go_on(checkpoint):
    def before(contract):
        contract["action"]["latency_s"] = 0.07

    with pytest.raises(ConfigurationError, match=r"other latencies; .*action.latency_s: 0.07 != 0.0; train on bags"):
        check_checkpoint(str(checkpoint(before)), load_contract("sim_franka"))

    def elsewhere(contract):
        before(contract)
        contract["action"]["rate_hz"] = 5.0

    with pytest.raises(ConfigurationError, match=r"another cell; .*action.rate_hz: 5.0 != 10.0$"):
        check_checkpoint(str(checkpoint(elsewhere)), load_contract("sim_franka"))
