"""The ways to run a part of a policy, in the order in which ties go; every one may be missing on a machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from dp_policy.denoiser import Denoiser
from dp_policy.encoders import ImageNetwork, ResNetEncoder
from dp_policy.policy import VisuomotorPolicy
from dp_policy.runtime.cuda import CudaDenoiser, CudaNetwork, require_cuda
from dp_policy.runtime.fast_encoder import BfloatNetwork, FastEncoder, FrameNetwork
from dp_policy.runtime.native.library import CarriedLibrary, find_library, load_library
from dp_policy.runtime.native.trunk import NativeResNet
from dp_policy.runtime.native.unet import NativeUnet
from dp_policy.runtime.onednn_transformer import OneDnnTransformer
from dp_policy.runtime.onednn_unet import OneDnnUnet
from dp_policy.runtime.packed_product import packing_available
from dp_policy.runtime.processor import missing_flags
from dp_policy.runtime.unavailable import RuntimeUnavailableError
from dp_policy.transformer1d import DiffusionTransformer
from dp_policy.unet1d import ConditionalUnet1d

REFERENCE = "reference"
#: Largest difference of a chunk from the plain one's, normalised units (the range of the data is 2), by precision.
TOLERANCES = {"fp32": 1e-3, "bf16": 0.05, "int8": 0.15}


@dataclass(frozen=True)
class Candidate:
    """One way to run a part.

    Attributes:
        name: unique within the part.
        precision: key of ``TOLERANCES``.
        build: the part of a policy, run this way; raises RuntimeUnavailableError where that is not possible.
        reserve: tried only where no other is taken; it was never the fastest, and trying costs start-up time.
    """

    name: str
    precision: str
    build: Callable[[VisuomotorPolicy], nn.Module]
    reserve: bool = False


def denoiser_of(policy: VisuomotorPolicy) -> Denoiser | None:
    """The network that draws, of methods that have one."""
    return cast(Denoiser | None, getattr(policy.head, "denoiser", None))


def require_unet(policy: VisuomotorPolicy) -> ConditionalUnet1d:
    """The policy's U-Net; raises RuntimeUnavailableError."""
    denoiser = denoiser_of(policy)
    if not isinstance(denoiser, ConditionalUnet1d):
        raise RuntimeUnavailableError(f"made for U-Nets, this is {type(denoiser).__name__}")
    return denoiser


def require_bfloat16() -> None:
    """Raises RuntimeUnavailableError where bfloat16 is emulated, which is slower than float32."""
    reason = missing_flags(("avx512_bf16",))
    if reason:
        raise RuntimeUnavailableError(reason)


def _onednn(dtype: torch.dtype) -> Callable[[VisuomotorPolicy], nn.Module]:
    def build(policy: VisuomotorPolicy) -> nn.Module:
        network = denoiser_of(policy)
        if dtype == torch.bfloat16:
            require_bfloat16()
        if not packing_available(dtype):
            raise RuntimeUnavailableError("this build of torch has no packed oneDNN products")
        if isinstance(network, DiffusionTransformer):
            return OneDnnTransformer(network, policy.config.action.horizon, dtype)
        return OneDnnUnet(require_unet(policy), policy.config.action.horizon, dtype)

    return build


def _bfloat_encoder(policy: VisuomotorPolicy) -> nn.Module:
    require_bfloat16()
    encoder, images = policy.encoder, policy.config.normaliser.images
    networks = {name: BfloatNetwork(cast(ImageNetwork, part), images) for name, part in encoder.networks.items()}
    return FastEncoder(encoder, networks)


def _native(bits: int, carried: CarriedLibrary | None) -> Callable[[VisuomotorPolicy], nn.Module]:
    def build(policy: VisuomotorPolicy) -> nn.Module:
        network = require_unet(policy)
        return NativeUnet(network, policy.config.action.horizon, bits, load_library(find_library(carried)))

    return build


def _cuda_denoiser(policy: VisuomotorPolicy) -> nn.Module:
    require_cuda()
    denoiser = denoiser_of(policy)
    assert denoiser is not None
    return CudaDenoiser(denoiser)


def _cuda_encoder(policy: VisuomotorPolicy) -> nn.Module:
    require_cuda()
    networks = {name: CudaNetwork(cast(ImageNetwork, part)) for name, part in policy.encoder.networks.items()}
    return FastEncoder(policy.encoder, networks)


def denoiser_candidates(carried: CarriedLibrary | None = None) -> list[Candidate]:
    """Ways to run the denoiser, besides the plain one; ``carried``: the library of an export."""
    return [
        Candidate("native-bf16", "bf16", _native(16, carried)),
        Candidate("native-int8", "int8", _native(8, carried)),
        Candidate("onednn-fp32", "fp32", _onednn(torch.float32), reserve=True),
        Candidate("onednn-bf16", "bf16", _onednn(torch.bfloat16), reserve=True),
        Candidate("cuda-bf16", "bf16", _cuda_denoiser),
    ]


def _native_encoder(carried: CarriedLibrary | None) -> Callable[[VisuomotorPolicy], nn.Module]:
    def build(policy: VisuomotorPolicy) -> nn.Module:
        encoder, images = policy.encoder, policy.config.normaliser.images
        library = load_library(find_library(carried))
        networks: dict[str, FrameNetwork] = {}
        for name, part in encoder.networks.items():
            if not isinstance(part, ResNetEncoder):
                raise RuntimeUnavailableError(f"made for ResNets, this is {type(part).__name__}")
            networks[name] = NativeResNet(part, encoder.framing.size, images, library)
        return FastEncoder(encoder, networks)

    return build


def encoder_candidates(carried: CarriedLibrary | None = None) -> list[Candidate]:
    """Ways to run the image networks, besides the plain one; ``carried`` as for denoisers."""
    return [
        Candidate("native-bf16", "bf16", _native_encoder(carried)),
        Candidate("onednn-bf16", "bf16", _bfloat_encoder, reserve=True),
        Candidate("cuda-bf16", "bf16", _cuda_encoder),
    ]


def with_parts(policy: VisuomotorPolicy, denoiser: Any = None, encoder: Any = None) -> VisuomotorPolicy:
    """A view of the policy with parts exchanged; weights are shared, nothing set on it reaches the policy."""
    view = _view(policy)
    if denoiser is not None:
        view.head = _view(policy.head)
        view.head.denoiser = denoiser
    if encoder is not None:
        view.encoder = encoder
    return view.eval()


def _view(module: Any) -> Any:
    view = module.__class__.__new__(module.__class__)
    view.__dict__.update(module.__dict__)
    view.__dict__["_modules"] = dict(module._modules)
    return view
