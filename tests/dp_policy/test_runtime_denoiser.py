"""Every way to run a denoiser gives what the plain network gives."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable

import pytest
import torch
from dp_policy.config import PolicyConfig
from dp_policy.policy import VisuomotorPolicy
from dp_policy.runtime.candidate import Candidate, denoiser_candidates, denoiser_of, with_parts
from dp_policy.runtime.native.library import find_library, load_library
from dp_policy.runtime.native.unet import NativeUnet
from dp_policy.runtime.unavailable import RuntimeUnavailableError

CANDIDATES = denoiser_candidates()
NATIVE = next(item for item in CANDIDATES if item.name == "native-bf16")
#: Of one evaluation, whose outputs are about 1.
EVALUATION_TOLERANCES = {"fp32": 1e-5, "bf16": 0.05, "int8": 0.15}
NETWORKS = {
    "two levels": {"sizes": [16, 32]},
    "three levels, other kernel": {"sizes": [24, 32, 40], "kernel": 3, "activation": "silu"},
    "one level": {"sizes": [32], "groups": 4},
    "odd widths": {"sizes": [6, 10], "groups": 2, "kernel": 7},
    "many channels": {"sizes": [64, 192]},
}


def build_policy(
    config: Callable[..., PolicyConfig], action: dict | None = None, **denoiser: object
) -> VisuomotorPolicy:
    torch.manual_seed(1)
    policy = VisuomotorPolicy(config(denoiser=denoiser, action=action or {}))
    for name, parameter in policy.head.named_parameters():
        if "norm" in name or name.endswith("bias"):  # those of a fresh network are all 0 or 1
            torch.nn.init.normal_(parameter, std=0.3)
    return policy.eval().requires_grad_(False)


def built(candidate: Candidate, policy: VisuomotorPolicy) -> torch.nn.Module:
    try:
        return candidate.build(policy)
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda item: item.name)
@torch.inference_mode()
def test_evaluations_agree(candidate: Candidate, network: str, small_config: Callable[..., PolicyConfig]) -> None:
    policy = build_policy(small_config, **NETWORKS[network])
    plain, fast = denoiser_of(policy), built(candidate, policy)
    assert plain is not None
    condition, steps = torch.randn(2, policy.head.condition_dim + policy.head.given_features), torch.tensor([99, 40, 3])
    for count, observations in ((1, 1), (6, 2), (3, 1), (1, 1)):  # more chunks, fewer again
        sample = torch.randn(count, 16, 10)
        expected = plain.denoise(sample, plain.prepare(condition[:observations], steps), 1)
        result = fast.denoise(sample, fast.prepare(condition[:observations], steps), 1)
        assert result.dtype == torch.float32
        assert float((result - expected).abs().max()) < EVALUATION_TOLERANCES[candidate.precision]


@pytest.mark.parametrize("changes", [{}, {"causal": False}, {"condition_layers": 1}], ids=str)
@pytest.mark.parametrize("name", ["onednn-fp32", "onednn-bf16", "cuda-bf16"])
@torch.inference_mode()
def test_transformers_agree(name: str, changes: dict, small_config: Callable[..., PolicyConfig]) -> None:
    transformer = {"layers": 2, "heads": 2, "width": 32, **changes}
    policy = build_policy(small_config, kind="transformer", transformer=transformer)
    candidate = next(item for item in CANDIDATES if item.name == name)
    plain, fast = denoiser_of(policy), built(candidate, policy)
    assert plain is not None
    torch.nn.init.normal_(plain.head.weight, std=0.2)  # type: ignore[arg-type,union-attr]
    condition, steps = torch.randn(2, policy.head.condition_dim + policy.head.given_features), torch.tensor([99, 40, 3])
    for count, observations in ((1, 1), (6, 2)):
        sample = torch.randn(count, 16, 10)
        expected = plain.denoise(sample, plain.prepare(condition[:observations], steps), 1)
        result = fast.denoise(sample, fast.prepare(condition[:observations], steps), 1)
        assert float(expected.std()) > 0.3
        assert float((result - expected).abs().max()) < EVALUATION_TOLERANCES[candidate.precision]


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda item: item.name)
@torch.inference_mode()
def test_marked_actions_are_seen(candidate: Candidate, small_config: Callable[..., PolicyConfig]) -> None:
    policy = build_policy(small_config, action={"prefix": 4})
    plain, fast = denoiser_of(policy), built(candidate, policy)
    assert plain is not None
    sample, steps = torch.randn(1, 16, 11), torch.tensor([50])
    marked = sample.clone()
    marked[:, :4, 10] += 3.0
    prepared = [
        network.prepare(torch.ones(1, policy.head.condition_dim + policy.head.given_features), steps)
        for network in (plain, fast)
    ]
    change = [
        network.denoise(marked, ready, 0) - network.denoise(sample, ready, 0)
        for network, ready in zip((plain, fast), prepared, strict=True)
    ]
    assert float(change[0].abs().max()) > 0.1
    torch.testing.assert_close(change[1], change[0], atol=2 * EVALUATION_TOLERANCES[candidate.precision], rtol=0.0)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda item: item.name)
def test_equal_noise_gives_equal_chunks(candidate: Candidate, small_config: Callable[..., PolicyConfig]) -> None:
    policy = build_policy(small_config)
    fast = with_parts(policy, denoiser=built(candidate, policy))
    features = torch.ones(1, policy.head.condition_dim + policy.head.given_features)
    chunks = [fast.plan(features, generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    torch.testing.assert_close(chunks[0], chunks[1], atol=0.0, rtol=0.0)
    assert denoiser_of(policy) is not denoiser_of(fast)


@pytest.mark.parametrize("candidate", CANDIDATES, ids=lambda item: item.name)
def test_gradients_are_those_of_the_plain_network(
    candidate: Candidate, small_config: Callable[..., PolicyConfig]
) -> None:
    policy = build_policy(small_config)
    sample = torch.randn(1, 16, 10)
    gradients = []
    for network in (denoiser_of(policy), built(candidate, policy)):
        moved = sample.clone().requires_grad_()
        prepared = network.prepare(
            torch.ones(1, policy.head.condition_dim + policy.head.given_features), torch.tensor([50])
        )
        network.denoise(moved, prepared, 0).sum().backward()
        gradients.append(moved.grad)
    torch.testing.assert_close(gradients[0], gradients[1], atol=0.0, rtol=0.0)


@torch.inference_mode()
def test_memory_does_not_grow_from_step_to_step(small_config: Callable[..., PolicyConfig]) -> None:
    policy = build_policy(small_config)
    native = built(NATIVE, policy)
    prepared = native.prepare(torch.ones(1, policy.head.condition_dim + policy.head.given_features), torch.tensor([50]))
    sample = torch.randn(1, 16, 10)
    for _ in range(10):
        native.denoise(sample, prepared, 0)

    def growth() -> int:
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(500):
            native.denoise(sample, prepared, 0)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return grown

    # Threads of other tests may allocate meanwhile; what a step keeps is there each time.
    assert min(growth() for _ in range(3)) < 4096


@torch.inference_mode()
def test_tables_of_many_samplers_are_not_all_kept(small_config: Callable[..., PolicyConfig]) -> None:
    policy = build_policy(small_config)
    native = built(NATIVE, policy)
    for step in range(50):
        native.prepare(torch.ones(1, policy.head.condition_dim + policy.head.given_features), torch.tensor([step]))
    assert len(native._films._tables) == native._films.MOST_TABLES


def test_compiled_kernels_refuse_transformers_by_name(small_config: Callable[..., PolicyConfig]) -> None:
    policy = VisuomotorPolicy(
        small_config(denoiser={"kind": "transformer", "transformer": {"layers": 1, "heads": 2, "width": 16}})
    )
    with pytest.raises(RuntimeUnavailableError, match="DiffusionTransformer"):
        NATIVE.build(policy)


def test_one_compiled_library_serves_all(small_config: Callable[..., PolicyConfig]) -> None:
    try:
        library = load_library(find_library())
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))
    assert load_library(find_library()) is library
    policies = [build_policy(small_config, sizes=[16, 32]) for _ in range(2)]
    for policy in policies:
        torch.nn.init.normal_(next(policy.head.parameters()), std=1.0)
    networks = [NativeUnet(denoiser_of(policy), 16, 16, library) for policy in policies]  # type: ignore[arg-type]
    sample, condition = (
        torch.randn(1, 16, 10),
        torch.ones(1, policies[0].head.condition_dim + policies[0].head.given_features),
    )
    with torch.inference_mode():
        first, second = (net.denoise(sample, net.prepare(condition, torch.tensor([9])), 0) for net in networks)
    assert not torch.allclose(first, second)


@pytest.mark.parametrize("name", ["native-bf16", "native-int8"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@torch.inference_mode()
def test_what_is_not_finite_stays_so(name: str, bad: float, small_config: Callable[..., PolicyConfig]) -> None:
    """The robot refuses actions that are not finite; a kernel that made numbers of them would get around that."""
    policy = build_policy(small_config, sizes=[32, 64])
    fast = built(next(item for item in CANDIDATES if item.name == name), policy)
    condition, steps = torch.randn(1, policy.head.condition_dim + policy.head.given_features), torch.tensor([99, 3])
    for place in ("condition", "sample"):
        sample, seen = torch.randn(2, 16, 10), condition.clone()
        if place == "sample":
            sample[1, 7, 3] = bad
        else:
            seen[0, 1] = bad
        result = fast.denoise(sample, fast.prepare(seen, steps), 1)
        assert not result[1].isfinite().all(), place
        assert place == "condition" or result[0].isfinite().all(), "one sequence is none of the other's business"
