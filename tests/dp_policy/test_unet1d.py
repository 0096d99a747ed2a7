from __future__ import annotations

import pytest
import torch
from dp_policy.config import DenoiserConfig
from dp_policy.convolution1d import set_conv_backend
from dp_policy.unet1d import ConditionalUnet1d, step_embedding
from torch import nn

TINY = DenoiserConfig(sizes=(16, 32), step_features=16)


def test_parameter_counts_are_the_published_ones() -> None:
    """Low-dim Push-T (2 actions, 2 x 20 observations): 65.8 M."""
    with torch.device("meta"):
        push_t = ConditionalUnet1d(2, 40, DenoiserConfig())
    assert sum(p.numel() for p in push_t.parameters()) == 65_783_298


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("backend", ["gemm", "auto"])
@torch.no_grad()
def test_conv_backends_agree(batch: int, backend: str) -> None:
    torch.manual_seed(0)
    network = ConditionalUnet1d(10, 12, TINY).double()
    inputs = torch.randn(batch, 16, 10).double(), torch.randint(0, 100, (batch,)), torch.randn(batch, 12).double()
    set_conv_backend(network, "native")
    native = network(*inputs)
    set_conv_backend(network, backend)
    torch.testing.assert_close(network(*inputs), native)


def test_film_in_two_halves_is_the_published_projection() -> None:
    """Sum of the halves = Linear(Mish(cat(step features, condition))), block by block."""
    network = ConditionalUnet1d(10, 12, TINY)
    steps, condition = torch.tensor([3, 77]), torch.randn(2, 12)
    halves = network.step_films(steps) + network.condition_films(condition)
    joined = torch.cat((network.diffusion_step_encoder(step_embedding(steps, 16)), condition), dim=-1)
    whole = torch.cat([block.cond_encoder(joined) for block in network.film_blocks], dim=-1)
    torch.testing.assert_close(halves, whole)


def test_draws_share_their_observation() -> None:
    network = ConditionalUnet1d(10, 12, TINY)
    chunks, steps, condition = torch.randn(6, 16, 10), torch.arange(6), torch.randn(2, 12)
    together = network(chunks, steps, condition)
    apart = network(chunks, steps, condition.repeat_interleave(3, dim=0))
    torch.testing.assert_close(together, apart)


def test_step_embedding_is_sines_then_cosines() -> None:
    embedded = step_embedding(torch.tensor([0, 5]), 8)
    torch.testing.assert_close(embedded[0], torch.tensor([0.0] * 4 + [1.0] * 4))
    torch.testing.assert_close(embedded[1, 0], torch.tensor(5.0).sin())
    torch.testing.assert_close(embedded[1, 3], torch.tensor(5e-4).sin())


@pytest.mark.parametrize("activation", ["mish", "silu"])
def test_every_weight_is_used(activation: str) -> None:
    network = ConditionalUnet1d(4, 5, DenoiserConfig(sizes=(16, 32), step_features=16, activation=activation))
    network(torch.randn(2, 8, 4), torch.tensor([1, 2]), torch.randn(2, 5)).square().sum().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert silent == []
    expected = nn.Mish if activation == "mish" else nn.SiLU
    assert isinstance(network.film_blocks[0].cond_encoder[0], expected)
