"""From a peer's checkpoint to one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from dp_policy.checkpoint import save_checkpoint
from dp_policy.denoiser import build_denoiser
from dp_policy.encoders import ObservationEncoder
from dp_policy.file_digest import file_sha256
from dp_policy.normaliser import Normaliser
from dp_policy.peers.errors import PeerCheckpointError
from dp_policy.peers.lerobot import read_lerobot
from dp_policy.peers.peer_policy import PeerPolicy
from dp_policy.peers.real_stanford import read_real_stanford
from dp_policy.policy import Policy, build_policy

LEROBOT_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ImportedPolicy:
    """A peer's policy, running here.

    Attributes:
        policy: in evaluation mode, float32, on the processor.
        peer: what was read.
        provenance: source file, its sha256, kind, which weights, optimiser steps (None: unknown).
    """

    policy: Policy
    peer: PeerPolicy
    provenance: dict[str, object]


def read_peer(path: str | Path, which: str | None = None) -> ImportedPolicy:
    """Read a real-stanford ``.ckpt`` file or a LeRobot folder.

    Args:
        path: the file or folder.
        which: ``ema`` or ``model`` of a real-stanford file; None: the averaged weights if there are any.

    Raises:
        PeerCheckpointError: nothing there that can be read, or it has something that a policy here cannot express.
    """
    path = Path(path)
    if path.is_dir():
        peer, weights = read_lerobot(path, which), path / LEROBOT_WEIGHTS
    elif path.is_file():
        peer, weights = read_real_stanford(path, which), path
    else:
        raise PeerCheckpointError(f"nothing at {path}; give a real-stanford .ckpt file or a LeRobot folder")
    _check_weights(peer)
    policy = build_policy(peer.config)
    policy.load_state_dict(dict(peer.weights))
    policy.eval().requires_grad_(False)
    provenance = {"source": path.name, "sha256": file_sha256(weights), "kind": peer.kind, **peer.provenance}
    return ImportedPolicy(policy, peer, provenance)


def import_peer(path: str | Path, folder: str | Path, which: str | None = None) -> tuple[ImportedPolicy, str]:
    """Write a peer's checkpoint as one of ours; returns the policy and its id.

    The checkpoint has no contract: it says nothing of a cell.

    Raises:
        PeerCheckpointError: see :func:`read_peer`.
    """
    imported = read_peer(path, which)
    return imported, save_checkpoint(folder, imported.policy, {}, imported.provenance)


def _check_weights(peer: PeerPolicy) -> None:
    """Compare names and shapes with networks that have no memory yet: sizes of a damaged file are not allocated."""
    config, seen = peer.config, peer.config.observation
    with torch.device("meta"):
        encoder = ObservationEncoder(config)
        parts = {
            "encoder": encoder,
            "head.denoiser": build_denoiser(config, encoder.frame_features),
            "normaliser": Normaliser(config.normaliser, seen.proprioception_dim, config.action.dim, len(seen.cameras)),
        }
    wanted = {f"{part}.{name}": w for part, module in parts.items() for name, w in module.state_dict().items()}
    missing = sorted(wanted.keys() - peer.weights.keys())
    spare = sorted(peer.weights.keys() - wanted.keys())
    if missing or spare:
        name = missing[0] if missing else spare[0]
        raise PeerCheckpointError(
            f"the weights do not fit the configuration: {len(missing)} missing, {len(spare)} spare; the first is {name}"
        )
    for name, weight in peer.weights.items():
        if weight.shape != wanted[name].shape:
            raise PeerCheckpointError(
                f"the weights do not fit the configuration: {name} is {tuple(weight.shape)}, "
                f"expected {tuple(wanted[name].shape)}"
            )
        if not bool(torch.isfinite(weight).all()):
            raise PeerCheckpointError(f"weight {name} is not finite")
