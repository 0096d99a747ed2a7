from __future__ import annotations

import pytest
import torch
from dp_policy.denoiser_config import TransformerConfig
from dp_policy.transformer1d import DiffusionTransformer
from torch import Tensor, nn

TINY = TransformerConfig(layers=2, heads=2, width=16, attention_dropout=0.0)


def tiny(history: int = 3, past: int | None = None, **changes: object) -> DiffusionTransformer:
    torch.manual_seed(0)
    network = DiffusionTransformer(2, 8, 5, history, TransformerConfig(**{**TINY.__dict__, **changes}), past)
    for weight in network.parameters():  # the small initial weights would hide most connections
        nn.init.normal_(weight, std=0.3)
    return network.eval()


def test_parameter_count_is_the_published_one() -> None:
    """Low-dim Push-T: 9.0 M (2 actions, 20 observations, 2 frames, 8 layers of 256)."""
    with torch.device("meta"):
        network = DiffusionTransformer(2, 16, 20, 2, TransformerConfig())
    assert sum(p.numel() for p in network.parameters()) == 8_965_122


def test_weights_have_the_published_names() -> None:
    state = set(DiffusionTransformer(2, 8, 5, 3, TINY).state_dict())
    attention = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
    expected = {"pos_emb", "cond_pos_emb"}
    expected |= {f"{m}.{k}" for m in ("input_emb", "cond_obs_emb", "ln_f", "head") for k in ("weight", "bias")}
    expected |= {f"encoder.{i}.{k}" for i in (0, 2) for k in ("weight", "bias")}
    for layer in (0, 1):
        expected |= {f"decoder.layers.{layer}.{a}.{k}" for a in ("self_attn", "multihead_attn") for k in attention}
        names = ("linear1", "linear2", "norm1", "norm2", "norm3")
        expected |= {f"decoder.layers.{layer}.{m}.{k}" for m in names for k in ("weight", "bias")}
    assert state == expected


def reference(network: DiffusionTransformer, sample: Tensor, step: float, frames: Tensor) -> Tensor:
    """The paper's decoder written out for one chunk: (T, A) and (To, F) to (T, A); layer norm before every part."""
    width, heads = network.config.width, network.config.heads
    rates = 10000.0 ** (-torch.arange(width // 2) / (width // 2 - 1))
    step_token = torch.cat(((step * rates).sin(), (step * rates).cos()))[None]
    memory = network.encoder(torch.cat((step_token, network.cond_obs_emb(frames))) + network.cond_pos_emb[0])
    x = network.input_emb(sample) + network.pos_emb[0]
    length, frame_count = len(sample), len(frames)
    own = torch.ones(length, length).tril().bool()
    seen = torch.tensor([[s == 0 or t >= s - 1 for s in range(1 + frame_count)] for t in range(length)])

    def attend(block: nn.MultiheadAttention, queries: Tensor, keys: Tensor, allowed: Tensor) -> Tensor:
        projections = zip(
            block.in_proj_weight.chunk(3), block.in_proj_bias.chunk(3), (queries, keys, keys), strict=True
        )
        q, k, v = ((inputs @ w.T + b).view(len(inputs), heads, -1).transpose(0, 1) for w, b, inputs in projections)
        scores = (q @ k.transpose(1, 2) / (width // heads) ** 0.5).masked_fill(~allowed, -torch.inf).softmax(-1)
        return block.out_proj((scores @ v).transpose(0, 1).reshape(len(queries), width))

    for layer in network.decoder.layers:
        normed = layer.norm1(x)
        x = x + attend(layer.self_attn, normed, normed, own)
        x = x + attend(layer.multihead_attn, layer.norm2(x), memory, seen)
        x = x + layer.linear2(nn.functional.gelu(layer.linear1(layer.norm3(x))))
    return network.head(network.ln_f(x))


@torch.no_grad()
def test_equals_the_decoder_written_out() -> None:
    network = tiny()
    samples, frames, steps = torch.randn(2, 8, 2), torch.randn(2, 3, 5), torch.tensor([3, 70])
    expected = [reference(network, *rows) for rows in zip(samples, steps.tolist(), frames, strict=True)]
    torch.testing.assert_close(network(samples, steps, frames.flatten(1)), torch.stack(expected), atol=1e-5, rtol=1e-5)


def influence(network: DiffusionTransformer) -> tuple[Tensor, Tensor]:
    """Which action inputs (T, T) and frames (T, To) each predicted action depends on."""
    sample, condition = torch.randn(1, 8, 2, requires_grad=True), torch.randn(1, 15, requires_grad=True)
    rows = []
    for action in network(sample, torch.tensor([5]), condition)[0]:
        by_sample, by_condition = torch.autograd.grad(action.sum(), (sample, condition), retain_graph=True)
        rows.append((by_sample[0].abs().sum(1) > 0, by_condition.view(3, 5).abs().sum(1) > 0))
    return torch.stack([row[0] for row in rows]), torch.stack([row[1] for row in rows])


def test_causal_actions_see_the_past_only() -> None:
    """Published framing: action i has the time of frame i."""
    actions, frames = influence(tiny())
    assert torch.equal(actions, torch.ones(8, 8).tril().bool())
    assert torch.equal(frames, torch.ones(8, 3).tril().bool())


def test_first_action_sees_every_frame_when_it_belongs_to_the_newest() -> None:
    assert bool(influence(tiny(past=0))[1].all())
    assert influence(tiny(past=1))[1][0].tolist() == [True, True, False]


def test_without_causal_masks_everything_is_seen() -> None:
    actions, frames = influence(tiny(causal=False))
    assert bool(actions.all()) and bool(frames.all())


@pytest.mark.parametrize("condition_layers", [0, 1])
@torch.no_grad()
def test_prepared_steps_give_what_forward_gives(condition_layers: int) -> None:
    network = tiny(condition_layers=condition_layers)
    samples, condition, steps = torch.randn(6, 8, 2), torch.randn(2, 15), torch.tensor([99.0, 49.5, 3.0])
    prepared = network.prepare(condition, steps)
    for index, step in enumerate(steps):
        expected = network(samples, step.expand(6), condition)
        torch.testing.assert_close(network.denoise(samples, prepared, index), expected, atol=1e-5, rtol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    network = tiny(attention_dropout=0.5)
    inputs = torch.randn(1, 8, 2), torch.tensor([5]), torch.randn(1, 15)
    assert torch.equal(network(*inputs), network(*inputs))
    network.train()
    assert not torch.equal(network(*inputs), network(*inputs))


def test_initial_weights() -> None:
    """N(0, 0.02) for matrices and positions, zero biases, unit norms."""
    network = DiffusionTransformer(2, 16, 20, 2, TransformerConfig(layers=1))
    for name, weight in network.named_parameters():
        if name.endswith("bias"):
            assert not weight.any(), name
        elif "norm" in name or name.startswith("ln_f"):
            assert bool((weight == 1).all()), name
        else:
            assert float(weight.detach().std()) == pytest.approx(0.02, rel=0.15), name


def test_every_weight_is_used() -> None:
    network = tiny().train()
    network(torch.randn(4, 8, 2), torch.tensor([1, 2, 3, 4]), torch.randn(4, 15)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


def test_compiles_as_one_graph() -> None:
    network = tiny(layers=1).train()
    inputs = torch.randn(4, 8, 2), torch.tensor([1, 2, 3, 4]), torch.randn(4, 15)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), network(*inputs))
