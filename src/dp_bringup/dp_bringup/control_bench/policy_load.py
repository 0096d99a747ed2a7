"""A process in which a policy network infers without pause: the neighbour of a control loop during deployment."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dp_core.contract import config_directory, load_contract
from dp_policy.checkpoint import LoadedPolicy
from dp_policy.config import load_policy_config
from dp_policy.engine import Engine
from dp_policy.policy import build_policy


def build_engine(policy: str, cell: str) -> Engine:
    """The engine of an untrained network of a policy file, with the cameras of a cell: what it says is of no concern.

    Args:
        policy: a name in config/policies.
        cell: of the contract.
    """
    observation = load_contract(cell).observation
    config = load_policy_config(config_directory() / "policies" / f"{policy}.yaml")
    config = config.with_observation(observation.cameras, observation.image_height, observation.image_width)
    loaded = LoadedPolicy(build_policy(config).eval().requires_grad_(False), config, {}, "untrained", {}, Path())
    return Engine(loaded, num_threads=1)


def main() -> int:
    """Infer until a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", required=True)
    parser.add_argument("--cell", required=True)
    args = parser.parse_args()
    engine = build_engine(args.policy, args.cell)
    parameters = sum(p.numel() for p in engine.loaded.policy.parameters())
    images, proprioception = engine.blank_observation()
    print(f"ready: {parameters} parameters, {1e3 * engine.latency_s:.1f} ms", flush=True)
    try:
        while True:
            engine.infer(images, proprioception)
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
