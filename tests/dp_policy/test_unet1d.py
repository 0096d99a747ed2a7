from __future__ import annotations

import pytest
import torch
from dp_policy.config import DenoiserConfig
from dp_policy.convolution1d import Conv1d, set_conv_backend
from dp_policy.denoiser import step_embedding
from dp_policy.unet1d import ConditionalUnet1d
from torch import nn

TINY = DenoiserConfig(sizes=(16, 32), step_features=16)


def test_parameter_counts_are_the_published_ones() -> None:
    """Push-T from numbers (2 x 20 observations): 65.8 M; real Push-T (2 x two cameras of 64 and 2 numbers): 66.7 M."""
    with torch.device("meta"):
        push_t = ConditionalUnet1d(2, 40, DenoiserConfig())
        two_cameras = ConditionalUnet1d(2, 2 * (2 * 64 + 2), DenoiserConfig(step_features=128))
    assert sum(p.numel() for p in push_t.parameters()) == 65_783_298
    assert sum(p.numel() for p in two_cameras.parameters()) == 66_708_354


@pytest.mark.parametrize(("sizes", "parameters"), [((512, 1024, 2048), 255_612_042), ((64, 128), 1_653_322)])
def test_other_sizes(sizes: tuple[int, ...], parameters: int) -> None:
    with torch.device("meta"):
        network = ConditionalUnet1d(10, 274, DenoiserConfig(sizes=sizes, step_features=128))
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("backend", ["gemm", "winograd", "auto"])
@torch.no_grad()
def test_conv_backends_agree(batch: int, backend: str) -> None:
    torch.manual_seed(0)
    network = ConditionalUnet1d(10, 12, TINY).double()
    inputs = torch.randn(batch, 16, 10).double(), torch.randint(0, 100, (batch,)), torch.randn(batch, 12).double()
    set_conv_backend(network, "native")
    native = network(*inputs)
    set_conv_backend(network, backend)
    torch.testing.assert_close(network(*inputs), native)


@pytest.mark.parametrize("length", [16, 12, 4])
def test_winograd_convolution_has_the_value_and_gradients_of_torch(length: int) -> None:
    torch.manual_seed(0)
    layer = Conv1d(16, 24, 5, padding=2).double()
    sequences = torch.randn(3, 16, length, dtype=torch.float64, requires_grad=True)
    results = []
    for layer.backend in ("native", "winograd"):
        output = layer(sequences)
        gradients = torch.autograd.grad(output.cos().sum(), [sequences, *layer.parameters()])
        results.append([output, *gradients])
    for native, winograd in zip(*results, strict=True):
        torch.testing.assert_close(winograd, native)
    assert "Winograd" in type(output.grad_fn).__name__


def test_winograd_rounds_less_than_a_hundred_thousandth() -> None:
    torch.manual_seed(0)
    layer, sequences = Conv1d(128, 128, 5, padding=2), torch.randn(64, 128, 16)
    exact = nn.functional.conv1d(sequences.double(), layer.weight.double(), layer.bias.double(), padding=2)
    output = layer(sequences)
    assert "Winograd" in type(output.grad_fn).__name__
    assert float((output - exact).detach().square().mean().sqrt() / exact.detach().std()) < 1e-5


def test_winograd_stays_out_of_half_precision() -> None:
    """Under autocast the transforms would run in bf16, even where input and weights are float32."""
    torch.manual_seed(0)
    layer, sequences = Conv1d(64, 64, 5, padding=2), torch.randn(64, 64, 16)
    results = []
    for layer.backend in ("native", "winograd", "auto"):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            results.append(layer(sequences))
    for output in results[1:]:
        assert "Winograd" not in type(output.grad_fn).__name__
        torch.testing.assert_close(output, results[0], rtol=0, atol=0)


def test_guidance_differentiates_the_fast_convolution() -> None:
    """A frozen network differentiated by its input, as guidance does: matrix products, and torch's own gradient."""
    network, condition, steps = ConditionalUnet1d(10, 12, TINY).requires_grad_(False), torch.randn(1, 12), torch.ones(1)
    pull, gradients = torch.randn(1, 16, 10), []
    for backend in ("auto", "native"):
        set_conv_backend(network, backend)
        chunk = torch.linspace(-1, 1, 160).view(1, 16, 10).requires_grad_()
        gradients.append(torch.autograd.grad(network(chunk, steps, condition), chunk, pull)[0])
    torch.testing.assert_close(*gradients)
    first, x = network.down_modules[0][0].residual_conv, torch.randn(1, 10, 16, requires_grad=True)
    first.backend = "auto"
    assert "Convolution" not in type(first(x).grad_fn).__name__
    assert "Convolution" in type(first.requires_grad_(True)(x).grad_fn).__name__


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


def test_compiles_as_one_graph() -> None:
    """Also where the eager pass would use Winograd's scheme, which the compiler could not look into."""
    network = ConditionalUnet1d(2, 5, DenoiserConfig(sizes=(64,), step_features=16))
    inputs = torch.randn(32, 8, 2), torch.randint(0, 100, (32,)), torch.randn(32, 5)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*inputs), network(*inputs), atol=1e-4, rtol=1e-4)
