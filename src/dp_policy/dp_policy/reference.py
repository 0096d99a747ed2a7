"""The published way to run the same weights: what every fast path is compared with, in result and in time.

As real-stanford/diffusion_policy runs its networks: float32, torch's ``Conv1d`` and ``ConvTranspose1d``, FiLM projected
from the step embedding and the condition side by side in every block at every step, every frame of the observation
window encoded at every inference in torch's default memory layout, and the scheduler of diffusers. Nothing is cached,
tabulated, unfolded or compiled. Weights are those of the checkpoint, by their published names.

Same observation and same noise give the chunk of :class:`dp_policy.policy.VisuomotorPolicy` up to rounding.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from dp_policy.checkpoint import LoadedPolicy
from dp_policy.config import DenoiserConfig, PolicyConfig
from dp_policy.denoiser import Denoiser, given_features, step_embedding
from dp_policy.encoders import CompactEncoder, ResNetEncoder
from dp_policy.policy import VisuomotorPolicy
from dp_policy.samplers import PREDICTION_TYPES, Sampler, build_sampler, forward_process
from dp_policy.sampling_config import DiffusionConfig
from dp_policy.transformer1d import DiffusionTransformer

ACTIVATIONS: dict[str, type[nn.Module]] = {"mish": nn.Mish, "silu": nn.SiLU}


class Evaluated(Denoiser):
    """A denoiser of which nothing is computed ahead: every step is a whole ``forward``."""

    def prepare(self, condition: Tensor, steps: Tensor) -> Any:
        """Nothing is."""
        return condition, steps.to(condition.device)

    def denoise(self, sample: Tensor, prepared: Any, index: int) -> Tensor:
        """``forward`` at the ``index``-th step."""
        condition, steps = prepared
        return self(sample, steps[index].expand(len(sample)), condition)


class PublishedTransformer(Evaluated, DiffusionTransformer):
    """The transformer, its condition tokens encoded at every step."""


class PublishedBlock(nn.Module):
    """``ConditionalResidualBlock1D`` with scales: (B, C_in, T) and (B, condition) to (B, C_out, T)."""

    def __init__(self, channels_in: int, channels_out: int, condition_dim: int, config: DenoiserConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [_conv_block(channels_in, channels_out, config), _conv_block(channels_out, channels_out, config)]
        )
        self.cond_encoder = nn.Sequential(ACTIVATIONS[config.activation](), nn.Linear(condition_dim, channels_out * 2))
        self.residual_conv: nn.Module = (
            nn.Conv1d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """One block."""
        first, second = (cast(Any, level)["block"] for level in self.blocks)
        scale, bias = self.cond_encoder(condition).unsqueeze(-1).chunk(2, dim=1)
        return second(scale * first(x) + bias) + self.residual_conv(x)


def _conv_block(channels_in: int, channels_out: int, config: DenoiserConfig) -> nn.ModuleDict:
    """``Conv1dBlock``: convolution, GroupNorm, activation."""
    layers = (
        nn.Conv1d(channels_in, channels_out, config.kernel, padding=config.kernel // 2),
        nn.GroupNorm(config.groups, channels_out),
        ACTIVATIONS[config.activation](),
    )
    return nn.ModuleDict({"block": nn.Sequential(*layers)})


class PublishedUnet(Evaluated):
    """``ConditionalUnet1D`` with a global condition; arguments as of :class:`dp_policy.unet1d.ConditionalUnet1d`."""

    def __init__(self, action_dim: int, condition_dim: int, config: DenoiserConfig, marked: bool = False) -> None:
        super().__init__()
        self.step_features = width = config.step_features
        sizes = config.sizes
        self.diffusion_step_encoder = nn.Sequential(
            nn.Identity(),
            nn.Linear(width, width * 4),
            ACTIVATIONS[config.activation](),
            nn.Linear(width * 4, width),
        )

        def block(channels_in: int, channels_out: int) -> PublishedBlock:
            return PublishedBlock(channels_in, channels_out, width + condition_dim, config)

        self.mid_modules = nn.ModuleList([block(sizes[-1], sizes[-1]) for _ in range(2)])
        self.down_modules = nn.ModuleList()
        for level, (low, high) in enumerate(zip((action_dim + marked, *sizes[:-1]), sizes, strict=True), 1):
            shrink = nn.Identity() if level == len(sizes) else nn.ModuleDict({"conv": nn.Conv1d(high, high, 3, 2, 1)})
            self.down_modules.append(nn.ModuleList([block(low, high), block(high, high), shrink]))
        self.up_modules = nn.ModuleList()
        for low, high in reversed(list(itertools.pairwise(sizes))):
            grow = nn.ModuleDict({"conv": nn.ConvTranspose1d(low, low, 4, 2, 1)})
            self.up_modules.append(nn.ModuleList([block(high * 2, low), block(low, low), grow]))
        self.final_conv = nn.Sequential(_conv_block(sizes[0], sizes[0], config), nn.Conv1d(sizes[0], action_dim, 1))

    def forward(self, sample: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        """See :meth:`dp_policy.denoiser.Denoiser.forward`."""
        draws = len(sample) // len(condition)
        embedded = self.diffusion_step_encoder(step_embedding(steps, self.step_features))
        features = torch.cat((embedded, condition.repeat_interleave(draws, dim=0)), dim=-1)
        x, skips = sample.transpose(1, 2).contiguous(), []
        for first, second, shrink in cast(Any, self.down_modules):
            x = second(first(x, features), features)
            skips.append(x)
            x = x if isinstance(shrink, nn.Identity) else shrink["conv"](x)
        for block in self.mid_modules:
            x = block(x, features)
        for first, second, grow in cast(Any, self.up_modules):
            x = torch.cat((x, skips.pop()), dim=1)
            x = grow["conv"](second(first(x, features), features))
        block, last = cast(Any, self.final_conv)
        return last(block["block"](x)).transpose(1, 2)


class PublishedDdim(Sampler):
    """The loop of diffusers' ``DDIMScheduler`` over the levels of :class:`dp_policy.samplers.Ddim`.

    diffusers steps from level t to t - ``train_steps // steps``. At ``leading`` spacing, and at ``trailing`` where the
    division leaves no rest (1, 2, 4, 5, 10, 20, ... of 100), that is the next level visited. Elsewhere (trailing at 8
    or 16 of 100) it is not, and the network would be told a level that its input does not have. The scheduler is
    therefore given the visited levels only, as its whole schedule: then the two always agree.
    """

    def __init__(self, config: DiffusionConfig) -> None:
        from diffusers.schedulers.scheduling_ddim import DDIMScheduler  # slow to import, see dp_policy.samplers

        self.timesteps = build_sampler(config).timesteps
        self._scheduler = DDIMScheduler(
            num_train_timesteps=len(self.timesteps),
            prediction_type=PREDICTION_TYPES[config.prediction],  # type: ignore[arg-type]
            clip_sample=config.clip_sample,
            timestep_spacing="leading",
        )
        self._scheduler.alphas_cumprod = forward_process(config).alphas_cumprod[self.timesteps.flip(0)]
        self._scheduler.set_timesteps(len(self.timesteps))

    def step(self, predicted: Tensor, index: int, chunk: Tensor, generator: torch.Generator | None) -> Tensor:
        """See :meth:`Sampler.step`; nothing is drawn."""
        level = self._scheduler.timesteps[index]
        return self._scheduler.step(predicted, level, chunk).prev_sample  # type: ignore[arg-type,union-attr]


class PublishedResNet(ResNetEncoder):
    """ResNet and spatial softmax in torch's default layout."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, out_features)."""
        return self.features(self.trunk(images.contiguous()))


class PlainCompact(CompactEncoder):
    """The compact encoder, which is no publication's, in torch's default layout."""

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, out_features)."""
        x = functional.pixel_unshuffle(images.contiguous(), self.block_px)
        return self.features(functional.relu(self.blocks(self.stem(x))))


def reference_policy(loaded: LoadedPolicy) -> LoadedPolicy:
    """A copy of a policy that runs the published way; its weights are copies too, under the same names.

    Pretrained trunks and the networks of the baselines (``lstm_gmm``, ``ibc``, ``bet``) have one way to run only and
    stay as they are, float32.
    """
    policy = cast(VisuomotorPolicy, loaded.policy)
    plain: dict[int, Any] = {
        id(network): _with_weights_of(network, kind(loaded.config.encoder))
        for network in policy.encoder.networks.values()
        for fast, kind in ((ResNetEncoder, PublishedResNet), (CompactEncoder, PlainCompact))
        if isinstance(network, fast)
    }
    denoiser = getattr(policy.head, "denoiser", None)
    if denoiser is not None:
        plain[id(denoiser)] = _with_weights_of(denoiser, _published_denoiser(loaded.config, policy.head.frame_features))
    reference = copy.deepcopy(policy, plain)  # what is in the memo takes the place of what would have been copied
    if loaded.config.method == "diffusion" and loaded.config.diffusion.sampler == "ddim":
        reference.head.sampler = PublishedDdim(loaded.config.diffusion)  # type: ignore[assignment]
    return dataclasses.replace(loaded, policy=reference.float().eval().requires_grad_(False))


def _published_denoiser(config: PolicyConfig, frame_features: int) -> Denoiser:
    action, history, marked = config.action, config.observation.history, config.action.prefix > 0
    if config.denoiser.kind == "transformer":
        sizes = (action.dim, action.horizon, frame_features, history)
        return PublishedTransformer(*sizes, config.denoiser.transformer, past=action.past, marked=marked)
    return PublishedUnet(action.dim, frame_features * history + given_features(config), config.denoiser, marked)


def _with_weights_of(source: nn.Module, module: nn.Module) -> nn.Module:
    module.load_state_dict(source.state_dict())
    return module


__all__ = ["reference_policy"]
