"""Time-series diffusion transformer over the action chunk (arXiv 2303.04137, layout of real-stanford/diffusion_policy).

Actions are the tokens of a decoder with causal self-attention. They attend to a memory of ``1 + To`` tokens: the
diffusion step, then one token per observed frame; an action attends to frames of its own time and earlier only.

Weights have the names of ``TransformerForDiffusion`` (with time and observations as conditions), so its state dict
loads as it is once ``_dummy_variable`` (empty) and the constants ``mask`` and ``memory_mask`` are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dp_policy.denoiser import Denoiser, step_embedding
from dp_policy.denoiser_config import TransformerConfig

INITIAL_DEVIATION = 0.02


class DiffusionTransformer(Denoiser):
    """Denoiser of action chunks.

    Args:
        action_dim: numbers per action.
        horizon: actions Tp.
        frame_features: numbers F per observed frame.
        history: observed frames To.
        config: sizes and choices.
        past: predicted actions before the newest frame's time; None: To - 1, as published.
        marked: the input has one more channel, which marks given actions.
    """

    #: Optimisers decay the weights of linear and attention layers only, as the paper does.
    decay_matrices_only = True

    def __init__(
        self,
        action_dim: int,
        horizon: int,
        frame_features: int,
        history: int,
        config: TransformerConfig,
        past: int | None = None,
        marked: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        self.history = history
        width = config.width
        self.input_emb = nn.Linear(action_dim + marked, width)
        self.pos_emb = nn.Parameter(torch.zeros(1, horizon, width))
        self.drop = nn.Dropout(config.embedding_dropout)
        self.cond_obs_emb = nn.Linear(frame_features, width)
        self.cond_pos_emb = nn.Parameter(torch.zeros(1, 1 + history, width))
        self.encoder = _condition_encoder(config)
        layer = nn.TransformerDecoderLayer(**_layer_options(config))
        self.decoder = nn.TransformerDecoder(layer, config.layers)
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, action_dim)
        masks = _causal_masks(horizon, history, history - 1 if past is None else past) if config.causal else (None,) * 2
        self.register_buffer("mask", masks[0], persistent=False)
        self.register_buffer("memory_mask", masks[1], persistent=False)
        self.apply(_initialise)
        for positions in (self.pos_emb, self.cond_pos_emb):
            nn.init.normal_(positions, std=INITIAL_DEVIATION)

    def forward(self, sample: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        """See :meth:`Denoiser.forward`."""
        return self.decode(sample, self.memory(condition, steps))

    def prepare(self, condition: Tensor, steps: Tensor) -> Tensor:
        """The memory of every step: (S, B, 1 + To, width)."""
        batch, count = len(condition), len(steps)
        rows = steps.to(condition.device).repeat_interleave(batch)
        return self.memory(condition.repeat(count, 1), rows).unflatten(0, (count, batch))

    def denoise(self, sample: Tensor, prepared: Tensor, index: int) -> Tensor:
        """``forward`` at the ``index``-th of the prepared steps."""
        memory = prepared[index]
        draws = len(sample) // len(memory)
        return self.decode(sample, memory.repeat_interleave(draws, dim=0) if draws > 1 else memory)

    def memory(self, condition: Tensor, steps: Tensor) -> Tensor:
        """What the actions attend to.

        Args:
            condition: (B, To * F) observation features, oldest frame first.
            steps: (B * K,) steps, K per observation side by side.

        Returns:
            (B * K, 1 + To, width), the token of the step first.
        """
        frames = self.cond_obs_emb(condition.unflatten(1, (self.history, -1)))
        draws = len(steps) // len(condition)
        frames = frames.repeat_interleave(draws, dim=0) if draws > 1 else frames
        step = step_embedding(steps, self.config.width).to(frames.dtype).unsqueeze(1)
        return self.encoder(self.drop(torch.cat((step, frames), dim=1) + self.cond_pos_emb))

    def decode(self, sample: Tensor, memory: Tensor) -> Tensor:
        """(N, Tp, inputs) noisy chunks and their (N, 1 + To, width) memory to (N, Tp, action_dim)."""
        tokens = self.drop(self.input_emb(sample) + self.pos_emb)
        # Told whether the mask is causal, torch need not look at its numbers, which would wait for a GPU.
        causal = self.config.causal
        hidden = self.decoder(tokens, memory, self.mask, self.memory_mask, tgt_is_causal=causal)
        return self.head(self.ln_f(hidden))


def _layer_options(config: TransformerConfig) -> dict:
    return {
        "d_model": config.width,
        "nhead": config.heads,
        "dim_feedforward": 4 * config.width,
        "dropout": config.attention_dropout,
        "activation": "gelu",
        "batch_first": True,
        "norm_first": True,
    }


def _condition_encoder(config: TransformerConfig) -> nn.Module:
    if config.condition_layers:
        layer = nn.TransformerEncoderLayer(**_layer_options(config))
        return nn.TransformerEncoder(layer, config.condition_layers, enable_nested_tensor=False)
    width = config.width
    return nn.Sequential(nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width))


def _causal_masks(horizon: int, history: int, past: int) -> tuple[Tensor, Tensor]:
    """Additive masks (Tp, Tp) among actions and (Tp, 1 + To) from actions to the memory: -inf where forbidden.

    Counted from the oldest frame, frame ``f`` has time ``f`` and action ``i`` time ``i + To - 1 - past``. The token
    of the diffusion step is open to every action.
    """
    actions, frames = torch.arange(horizon), torch.arange(history)
    later = actions[None, :] > actions[:, None]
    unseen = frames[None, :] > actions[:, None] + (history - 1 - past)
    hidden = torch.cat((torch.zeros(horizon, 1, dtype=torch.bool), unseen), dim=1)
    return tuple(torch.zeros(mask.shape).masked_fill(mask, float("-inf")) for mask in (later, hidden))  # type: ignore[return-value]


def _initialise(module: nn.Module) -> None:
    """N(0, 0.02) for matrices, zero for biases; layer norms start as torch's."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=INITIAL_DEVIATION)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.MultiheadAttention):
        nn.init.normal_(module.in_proj_weight, std=INITIAL_DEVIATION)
        nn.init.zeros_(module.in_proj_bias)
