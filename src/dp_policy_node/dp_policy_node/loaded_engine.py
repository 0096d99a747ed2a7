"""A checkpoint made ready to drive this cell: loaded, compared with the contract, its engine warm."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from dp_core.actions import ACTION_DIM
from dp_core.configuration import ConfigurationError
from dp_core.contract import Contract, contract_difference
from dp_policy.checkpoint import CheckpointError, LoadedPolicy, load_checkpoint, read_checkpoint_info
from dp_policy.engine import Engine

# Added to the niceness of the thread that loads: about a ninth of the running policy's share of a busy core.
LOADER_NICENESS = 10


@dataclass(frozen=True)
class EngineOptions:
    """How chunks are made.

    Attributes:
        num_threads: torch threads.
        seed: of the noise.
        runtime: which one runs the networks, see :class:`dp_policy.engine.Engine`.
        continuity: how a chunk goes on from the one before, one of :data:`dp_policy.continuity.CONTINUITIES`.
        steps: Ta, actions executed of each chunk; 0: as the policy was trained.
    """

    num_threads: int = 1
    seed: int = 0
    runtime: str = "auto"
    continuity: str = "auto"
    steps: int = 0


@dataclass(frozen=True)
class ReadyPolicy:
    """A policy that can take over between two inferences.

    Attributes:
        loaded: of the checkpoint.
        engine: warm; called by one thread.
        steps: Ta, actions executed of each chunk.
        folder: the ``checkpoint`` parameter it came from.
    """

    loaded: LoadedPolicy
    engine: Engine
    steps: int
    folder: str


def check_checkpoint(folder: str, contract: Contract) -> None:
    """What can be told of a checkpoint without loading its weights.

    Raises:
        ConfigurationError: no checkpoint there, or its contract differs; lists each difference.
    """
    if not folder:
        raise ConfigurationError("checkpoint: missing; give the folder that `dp train` wrote")
    try:
        stored = read_checkpoint_info(folder).get("contract", {})
    except CheckpointError as error:
        raise ConfigurationError(f"checkpoint: {error}") from error
    if not stored:
        raise ConfigurationError(
            f"checkpoint {folder} carries no cell contract (trained on data without one, or imported): "
            "it can be evaluated offline, but it cannot drive a robot"
        )
    trained = Contract.from_dict(stored, source=folder)
    difference = contract_difference(trained, contract)
    if difference:
        what, hint = "trained for another cell", ""
        if not contract_difference(trained, contract, latencies=False):
            what = "trained with other latencies"
            hint = (
                "; train on bags aligned anew (dp dataset build --cell), or deploy it with a contract that has its own"
            )
        raise ConfigurationError(
            f"checkpoint {folder} was {what}; checkpoint != {contract.name}: {'; '.join(difference)}{hint}"
        )


def prepare_policy(folder: str, contract: Contract, options: EngineOptions) -> ReadyPolicy:
    """Load a checkpoint made for this cell and warm its engine up.

    Raises:
        ConfigurationError: the checkpoint is missing, damaged or another cell's, or an option does not fit it.
    """
    check_checkpoint(folder, contract)
    try:
        loaded = load_checkpoint(folder)
    except CheckpointError as error:
        raise ConfigurationError(f"checkpoint: {error}") from error
    _check_interface(loaded, contract)
    action = loaded.config.action
    if options.steps > action.chunk:
        raise ConfigurationError(
            f"actions_per_chunk = {options.steps} is not valid for {folder}, whose chunks have {action.chunk} actions; "
            f"valid: 1 to {action.chunk}, or 0 for the {action.steps} of its training"
        )
    try:
        # Before the engine is made: it may exchange parts of the policy, and takes the rest as it is.
        loaded.policy.continuity = options.continuity
        engine = Engine(loaded, num_threads=options.num_threads, seed=options.seed, runtime=options.runtime)
    except (ValueError, CheckpointError) as error:  # the latter: a damaged export
        raise ConfigurationError(f"checkpoint {folder}: {error}") from error
    return ReadyPolicy(loaded, engine, options.steps or action.steps, folder)


def _check_interface(loaded: LoadedPolicy, contract: Contract) -> None:
    """Refuse a policy that sees or does what this node cannot give or take."""
    config = loaded.config
    strange = [name for name in config.observation.cameras if name not in contract.observation.cameras]
    if strange:
        raise ConfigurationError(
            f"checkpoint {loaded.path} looks through {', '.join(strange)}; "
            f"the cell observes: {', '.join(contract.observation.cameras)}"
        )
    sizes = {"proprioception": config.observation.proprioception_dim, "action": config.action.dim}
    for name, size in sizes.items():
        if size != ACTION_DIM:
            raise ConfigurationError(f"checkpoint {loaded.path}: {name} of {size} numbers, a cell has {ACTION_DIM}")


class PolicyLoader:
    """Makes one policy ready on a thread of its own, of low priority where the system permits it.

    The number of torch threads is that of the running policy: it can change only when the node is configured, which
    waits for a loader that is still at work.

    Args:
        prepare: returns the policy or raises.
        folder: where it comes from, for messages.
    """

    def __init__(self, prepare: Callable[[], ReadyPolicy], folder: str) -> None:
        self.folder = folder
        self.ready: ReadyPolicy | None = None
        self.problem = ""
        self._prepare = prepare
        self._thread = threading.Thread(target=self._run, name="policy loader", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until it is done."""
        self._thread.join()

    def _run(self) -> None:
        _yield_to_others()
        try:
            self.ready = self._prepare()
        except Exception as error:  # whatever is wrong with the new one, the old one goes on
            self.problem = str(error) if isinstance(error, ConfigurationError) else repr(error)

    @property
    def done(self) -> bool:
        """True once ``ready`` or ``problem`` is set."""
        return not self._thread.is_alive()


def _yield_to_others() -> None:
    """Lower the priority of this thread, and of those that it starts, so that the running policy keeps its cores.

    On Linux niceness belongs to a thread, and its native id names it; elsewhere the same call would mean a process. The
    candidates of a runtime are measured against each other at the same priority, so the choice stays fair; the engine's
    first latency comes out too long on busy cores, which the first chunk of the new policy puts right.
    """
    if sys.platform != "linux":
        return
    own = threading.get_native_id()
    # Not permitted: the policy loads as it would have.
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + LOADER_NICENESS)
