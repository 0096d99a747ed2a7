"""What every reader of a peer's checkpoint hands over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dp_policy.config import PolicyConfig, PolicyConfigError
from dp_policy.peers.errors import PeerCheckpointError

#: Push-T's vectors of real-stanford and LeRobot, by their sizes, and what ours are called.
PUSHT_ACTION_DIM = 2


@dataclass(frozen=True)
class PeerPolicy:
    """A policy of a peer in our terms.

    Attributes:
        kind: what it is in the peer, for example ``real-stanford DiffusionUnetLowdimPolicy``.
        config: ours.
        weights: the whole state dict of our policy.
        provenance: what is known of its training.
        notes: what a user should know: guesses, and what differs without changing the output.
    """

    kind: str
    config: PolicyConfig
    weights: Mapping[str, Tensor]
    provenance: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def build_config(sections: Mapping[str, Any]) -> PolicyConfig:
    """The configuration of ours.

    Raises:
        PeerCheckpointError: a value is outside of what a policy here can have.
    """
    try:
        return PolicyConfig.from_dict(sections)
    except PolicyConfigError as error:
        raise PeerCheckpointError(f"this policy cannot be expressed here: {error}") from None
