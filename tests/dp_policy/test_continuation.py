"""Given actions: what training draws and counts, what the network sees, and what a chunk begins with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from dp_policy.config import ActionConfig, PolicyConfig
from dp_policy.heads.base import ActionHead
from dp_policy.heads.build import build_head
from dp_policy.heads.continuation import Continuation, Given
from torch import Tensor

TRANSFORMER = {"kind": "transformer", "transformer": {"layers": 1, "heads": 2, "width": 16, "attention_dropout": 0.0}}
METHODS = [("diffusion", {}), ("flow", {}), ("two_step", {"kind": "l1_flow"}), ("two_step", {"kind": "mip"})]
METHODS += [("regression", {})]
SAMPLERS = [
    ("diffusion", {"sampler": sampler, "train_steps": 12, "inference_steps": 4}) for sampler in ("ddpm", "dpmsolver++")
]


def head_of(make: Callable[..., PolicyConfig], method: str, section: dict, prefix: int, kind: str) -> ActionHead:
    torch.manual_seed(0)
    mapping = make(action={"prefix": prefix}, denoiser=TRANSFORMER if kind == "transformer" else {}).to_dict()
    mapping |= {"method": method} | ({} if method == "regression" else {method: section})
    return build_head(PolicyConfig.from_dict(mapping), 12).eval()


def test_how_many_are_given_is_drawn(small_config: Callable[..., PolicyConfig]) -> None:
    """Three in ten sequences have nothing given, 1 to 5 are equally likely (14 % each), and more never are."""
    action, count = small_config(action={"prefix": 5}).action, 20_000
    given = Given.drawn(action, torch.zeros(count, 16, 10), torch.Generator().manual_seed(0))
    marks = given.as_input(torch.ones(count, 16, 10), torch.float32)[:, :, 10]
    numbers = marks.sum(dim=1).long()
    torch.testing.assert_close(marks, (torch.arange(16) < numbers[:, None]).float())
    shares = torch.bincount(numbers, minlength=17) / count
    expected = torch.tensor([0.3] + [0.14] * 5 + [0.0] * 11)
    torch.testing.assert_close(shares, expected, atol=0.01, rtol=0)


def test_network_sees_given_actions_clean_and_marked(small_config: Callable[..., PolicyConfig]) -> None:
    plan = torch.arange(6.0).view(1, 3, 2)
    action = small_config(action={"prefix": 2, "dim": 2, "horizon": 4, "steps": 2}).action
    given = Given.held(action, Continuation(plan, 2), torch.zeros(1, 7), 2)
    seen = given.as_input(torch.full((2, 4, 2), 9.0), torch.float32)
    expected = torch.tensor([[0.0, 1.0, 1.0], [2.0, 3.0, 1.0], [9.0, 9.0, 0.0], [9.0, 9.0, 0.0]])
    torch.testing.assert_close(seen, expected.expand(2, 4, 3))


def test_condition_has_the_given_actions_behind_the_features(small_config: Callable[..., PolicyConfig]) -> None:
    """Two given of at most three, two draws; in training each row has its own, here none and all three."""
    action = small_config(action={"prefix": 3, "dim": 2, "horizon": 4, "steps": 2}).action
    features = torch.tensor([[7.0], [8.0]])
    plan = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[-1.0, -2.0], [-3.0, -4.0], [-5.0, -6.0]]])
    held = Given.held(action, Continuation(plan, 2), features, 2).beside(features, 9)
    assert held.tolist() == [
        [7.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 1.0, 1.0, 0.0],
        [8.0, -1.0, -2.0, -3.0, -4.0, 0.0, 0.0, 1.0, 1.0, 0.0],
    ]
    nothing = Given.held(action, None, features, 2).beside(features, 9)
    assert nothing.tolist() == [[7.0, *[0.0] * 9], [8.0, *[0.0] * 9]]
    sequences = torch.arange(16.0).view(2, 4, 2)
    mask = torch.tensor([[False] * 4, [True, True, True, False]])
    trained = Given(sequences, mask).beside(features[:1], 9)
    assert trained.tolist() == [[7.0, *[0.0] * 9], [7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 1.0, 1.0, 1.0]]
    assert Given(sequences, mask).beside(features, 0) is features


def test_predictions_are_joined_to_the_last_given_action() -> None:
    """Missed by 1 at the second action: the third moves by 1, the fourth by e^(-1/8); with nothing given none does."""
    actions, predicted = torch.full((2, 4, 1), 5.0), torch.tensor([9.0, 4.0, 3.0, 2.0]).view(1, 4, 1).repeat(2, 1, 1)
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    joined = Given(actions, mask).join(predicted)[:, :, 0]
    torch.testing.assert_close(joined, torch.tensor([[9.0, 4.0, 4.0, 2.8824969], [9.0, 4.0, 3.0, 2.0]]))


def test_the_way_back_from_actions_that_lie_aside_is_that_of_the_join() -> None:
    """By 1 aside at the second action: the third still is, the fourth by e^(-1/2)."""
    right, aside = torch.full((1, 4, 1), 5.0), torch.ones(1, 1, 1)
    given = Given(right + aside, torch.tensor([[True, True, False, False]]), join_actions=2.0, aside=aside)
    expected = torch.tensor([6.0, 6.0, 6.0, 5.6065307])
    torch.testing.assert_close(given.put_into(given.aimed(right)).flatten(), expected)
    torch.testing.assert_close(given.put_into(given.join(right)).flatten(), expected)
    assert Given(right, torch.tensor([[True] * 4])).aimed(right) is right


def test_half_of_the_given_actions_lie_aside_as_a_whole_by_the_asked_spread() -> None:
    action = ActionConfig(prefix=8, prefix_noise=0.1)
    sequences = torch.zeros(4000, 16, 10)
    given = Given.drawn(action, sequences, torch.Generator().manual_seed(0))
    seen = given.as_input(sequences, torch.float32)
    values, marks = seen[..., :-1], seen[..., -1].bool()
    assert not values[~marks].any()
    first = values[marks.any(dim=1), 0]
    assert torch.equal(values[marks], first.repeat_interleave(marks.sum(dim=1)[marks.any(dim=1)], dim=0))
    moved = first.any(dim=1)
    assert 0.45 < moved.float().mean() < 0.55 and 0.095 < first[moved].std() < 0.105
    plain = Given.drawn(ActionConfig(prefix=8), sequences, torch.Generator().manual_seed(0))
    assert torch.equal(plain.as_input(sequences, torch.float32)[..., -1].bool(), marks), "the same draws but for that"


@pytest.mark.parametrize("kind", ["unet1d", "transformer"])
@pytest.mark.parametrize(("method", "section"), METHODS)
def test_loss_counts_what_is_not_given(
    small_config: Callable[..., PolicyConfig], method: str, section: dict, kind: str
) -> None:
    """The gradient with respect to the network's output is zero where the input is marked, and nowhere else.

    But for the last marked one where the others are joined to it: there the network predicts the actions themselves.
    """
    head, seen, results = head_of(small_config, method, section, 8, kind), [], []
    network = head.denoiser.forward

    def watched(sample: Tensor, steps: Tensor, condition: Tensor) -> Tensor:
        seen.append(sample.detach())
        results.append(network(sample, steps, condition))
        results[-1].retain_grad()
        return results[-1]

    head.denoiser.forward = watched
    actions, generator = torch.rand(32, 16, 10), torch.Generator().manual_seed(1)
    head.loss(torch.randn(32, 12), actions, torch.ones(32, 16), 2, generator).backward()
    marks, counted = seen[0][:, :, 10] == 1.0, results[0].grad.abs().sum(dim=-1) > 0
    assert 0.1 < float(marks.float().mean()) < 0.4
    last = marks & ~torch.nn.functional.pad(marks, (0, 1))[:, 1:]
    torch.testing.assert_close(counted, ~marks | last if method in ("two_step", "regression") else ~marks)
    per_observation = len(marks) // 32
    wanted = actions.repeat_interleave(per_observation, dim=0)
    torch.testing.assert_close(seen[0][:, :, :10][marks], wanted[marks])
    assert not torch.isclose(seen[0][:, :, :10][~marks], wanted[~marks]).all(dim=-1).any()


@pytest.mark.parametrize("kind", ["unet1d", "transformer"])
@pytest.mark.parametrize(("method", "section"), METHODS + SAMPLERS)
def test_sequences_begin_with_what_is_given(
    small_config: Callable[..., PolicyConfig], method: str, section: dict, kind: str
) -> None:
    """Every evaluation sees them clean and marked, the result has them exactly, and the rest depends on them."""
    head, seen = head_of(small_config, method, section, 8, kind), []
    network = head.denoiser.denoise
    head.denoiser.denoise = lambda x, prepared, index: seen.append(x) or network(x, prepared, index)
    condition, plan = torch.randn(2, 12), torch.rand(2, 11, 10) - 0.5

    def sample(continuation: Continuation | None) -> Tensor:
        return head.sample(condition, torch.Generator().manual_seed(0), 3, continuation)

    sampled = sample(Continuation(plan, 5))
    held = plan.repeat_interleave(len(seen[0]) // 2, dim=0)[:, :5]
    assert len(seen) == head.evaluations
    for x in seen:
        torch.testing.assert_close(x[:, :5, :10], held, rtol=0, atol=0)
        assert x[:, :, 10].sum(dim=1).tolist() == [5.0] * len(x)
    torch.testing.assert_close(sampled[:, :5], plan.repeat_interleave(3, dim=0)[:, :5], rtol=0, atol=0)
    free, other = sample(None), sample(Continuation(-plan, 5))
    torch.testing.assert_close(sample(Continuation(plan, 0)), free, rtol=0, atol=0)
    assert float((sampled - free)[:, 5:].abs().max()) > 1e-4
    assert float((sampled - other)[:, 5:].abs().max()) > 1e-4


@pytest.mark.parametrize("kind", ["unet1d", "transformer"])
def test_untrained_for_it_nothing_changes(small_config: Callable[..., PolicyConfig], kind: str) -> None:
    """Without ``prefix`` the network has A input channels and draws the numbers that it always drew."""
    head, seen = head_of(small_config, "diffusion", {"prediction": "sample"}, 0, kind), []
    head.denoiser.forward = lambda x, steps, condition: seen.append((x, steps)) or torch.zeros_like(x)
    actions, generator = torch.rand(4, 16, 10), torch.Generator().manual_seed(5)
    loss = head.loss(torch.zeros(4, 12), actions, torch.ones(4, 16), 1, generator)
    again = torch.Generator().manual_seed(5)
    noise = torch.randn((4, 16, 10), generator=again)
    steps = torch.randint(0, 100, (4,), generator=again)
    torch.testing.assert_close(seen[0], (head.forward_process.add_noise(actions, noise, steps), steps))
    torch.testing.assert_close(generator.get_state(), again.get_state())
    assert float(loss) == pytest.approx(float(actions.square().mean()))


def test_what_prefix_adds_to_the_network(small_config: Callable[..., PolicyConfig]) -> None:
    """The two convolutions that see the input (5 taps and 1 tap) get one more column, as does the token layer.

    A U-Net's FiLM layers (8 blocks, 16 16 32 32 32 32 16 16 channels, two numbers each) also see each given action.
    """
    for kind, more in (("unet1d", 16 * 5 + 16), ("transformer", 16)):
        films = 2 * 192 * 11 if kind == "unet1d" else 0
        sizes = [
            sum(w.numel() for w in head_of(small_config, "diffusion", {}, p, kind).parameters()) for p in (0, 1, 8)
        ]
        assert [size - sizes[0] for size in sizes] == [0, more + films, more + 8 * films]
