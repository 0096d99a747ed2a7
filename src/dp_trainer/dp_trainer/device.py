"""Where training runs: the device, compiled networks, autocast, and moving batches there."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager

import torch
from dp_policy.policy import Batch, Policy
from torch import nn


class DeviceError(RuntimeError):
    """The device or the compiler that the configuration asks for is not there."""


def choose_device(name: str) -> torch.device:
    """The device of ``training.device``.

    Args:
        name: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        DeviceError: ``cuda`` is asked for and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        build = "is built without CUDA" if torch.version.cuda is None else "finds no usable GPU"
        raise DeviceError(f"training.device = cuda, but this torch ({torch.__version__}) {build}; use auto or cpu")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Autocast to bf16 for ``amp``; nothing otherwise."""
    if precision == "amp":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def move_batch(batch: Batch, device: torch.device) -> Batch:
    """The batch on ``device``; from pinned memory the copy runs beside the work of the GPU."""
    if device.type == "cpu":
        return batch
    return Batch(
        images={name: pixels.to(device, non_blocking=True) for name, pixels in batch.images.items()},
        proprioception=batch.proprioception.to(device, non_blocking=True),
        actions=batch.actions.to(device, non_blocking=True),
        weights=batch.weights.to(device, non_blocking=True),
    )


def pin_batch(batch: Batch) -> Batch:
    """The batch in page-locked memory, from which copies to a GPU do not wait."""
    return Batch(
        images={name: pixels.pin_memory() for name, pixels in batch.images.items()},
        proprioception=batch.proprioception.pin_memory(),
        actions=batch.actions.pin_memory(),
        weights=batch.weights.pin_memory(),
    )


def compile_networks(policy: Policy, device: torch.device) -> list[str]:
    """Let torch.compile translate the image encoders and the denoiser in place; names of weights stay.

    Returns:
        names of the modules that will be compiled at their first pass.

    Raises:
        DeviceError: there is no compiler for this device.
    """
    _check_compiler(device)
    parts: dict[str, nn.Module] = {}
    encoder, head = getattr(policy, "encoder", None), getattr(policy, "head", None)
    for name, network in getattr(encoder, "networks", {}).items():
        parts[f"encoder.networks.{name}"] = network
    if isinstance(getattr(head, "denoiser", None), nn.Module):
        parts["head.denoiser"] = head.denoiser  # type: ignore[union-attr, assignment]
    for network in parts.values():
        network.compile()
    return list(parts)


@contextlib.contextmanager
def explaining_compiler(compiled: bool) -> Iterator[None]:
    """Turn a failure of torch.compile, which shows at the first pass, into a :class:`DeviceError`."""
    if not compiled:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor.exc import CppCompileError, InductorError

    try:
        yield
    except (TorchDynamoException, CppCompileError, InductorError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise DeviceError(f"torch.compile failed: {reason}; training.compile = false trains without it") from error


def _check_compiler(device: torch.device) -> None:
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise DeviceError("training.compile needs triton on a GPU: pip install triton, or set it to false")
        return
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None and shutil.which("clang++") is None:
        raise DeviceError(
            f"training.compile needs a C++ compiler and {compiler!r} is not found: install g++, name one in CXX, "
            "or set it to false"
        )
