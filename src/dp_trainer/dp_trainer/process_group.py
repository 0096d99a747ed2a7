"""The processes that train one policy together, as ``accelerate launch`` starts them; usually one.

Hugging Face Accelerate reads how the processes were started (one machine or several, gloo or nccl, which GPU is
whose) and connects them. It is imported only where there is more than one.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dp_trainer.device import choose_device

#: Where launchers (torchrun and Accelerate, Intel MPI, Open MPI, MVAPICH) tell size and rank.
COUNT_VARIABLES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
RANK_VARIABLES = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")


class ProcessGroupError(RuntimeError):
    """Several processes were started, but they cannot train together."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that train together.

    Attributes:
        rank: number of this process; 0 writes the files.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace float32 tensors by their sums over all processes, in one message."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        self._spread(flat, tensors)

    def share(self, tensors: Sequence[Tensor]) -> None:
        """Replace float32 tensors by those of the main process, in one message."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.broadcast(flat, src=0)
        self._spread(flat, tensors)

    def all_agree(self, answer: bool, device: torch.device) -> bool:
        """Whether the answer is yes in all processes; ``device`` is that of this process."""
        yes = torch.tensor([float(answer)], device=device)
        self.sum([yes])
        return round(yes.item()) == self.size

    def wait(self, device: torch.device) -> None:
        """Return once all processes have come here; ``device`` is that of this process."""
        self.sum([torch.zeros(1, device=device)])

    @staticmethod
    def _spread(flat: Tensor, tensors: Sequence[Tensor]) -> None:
        parts = flat.split([tensor.numel() for tensor in tensors])
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))


def process_count() -> int:
    """How many processes the launcher started, by its environment; 1 without a launcher."""
    return _first_number(COUNT_VARIABLES, 1)


def is_main_process() -> bool:
    """Whether this process writes files and shows progress, by the launcher's environment; connects nothing."""
    return _first_number(RANK_VARIABLES, 0) == 0


def _first_number(variables: Sequence[str], otherwise: int) -> int:
    return next((int(os.environ[name]) for name in variables if os.environ.get(name)), otherwise)


def _leave() -> None:
    """Disconnect, or threads of the connection may abort a process that has done its work."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def join_processes(device: str) -> tuple[ProcessGroup, torch.device]:
    """Connect to the other processes, if there are any.

    Args:
        device: ``training.device``.

    Returns:
        this process among them, and its device.

    Raises:
        ProcessGroupError: there are several and accelerate is not installed.
        DeviceError: no such device here.
    """
    if process_count() == 1:
        if "ACCELERATE_USE_CPU" in os.environ and "MASTER_PORT" in os.environ and "WORLD_SIZE" not in os.environ:
            raise ProcessGroupError(
                "accelerate launch --cpu started one process, not several; on processors use "
                "`accelerate launch --multi_gpu --num_processes N` all the same, it needs no GPU"
            )
        return ProcessGroup(), choose_device(device)
    try:
        from accelerate import PartialState
    except ImportError:
        raise ProcessGroupError(
            f"{process_count()} processes were started, but accelerate is not installed: "
            "pip install 'diffusion-policy-ros2[train]'"
        ) from None
    on_gpu = choose_device(device).type == "cuda"
    state = PartialState() if on_gpu else PartialState(cpu=True)
    atexit.register(_leave)
    return ProcessGroup(state.process_index, state.num_processes), state.device
