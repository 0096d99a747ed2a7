"""Why a checkpoint of another project was not imported."""

from __future__ import annotations


class PeerCheckpointError(RuntimeError):
    """A peer's checkpoint is damaged, asks for code, or has something that a policy of this project cannot express."""
