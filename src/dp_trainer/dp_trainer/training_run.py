"""What changes while training: weights, moments, average; and one optimiser step on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from dp_policy.checkpoint import CheckpointError
from dp_policy.config import PolicyConfig
from dp_policy.policy import Policy, build_policy
from dp_policy.pretrained_weights import load_pretrained_weights
from torch import Tensor

from dp_trainer.batch_loader import BatchLoader, Piece
from dp_trainer.device import autocast, compile_networks, explaining_compiler, move_batch
from dp_trainer.ema import Ema
from dp_trainer.optimiser import MasterWeightOptimiser
from dp_trainer.process_group import ProcessGroup, ProcessGroupError
from dp_trainer.sliced_draws import Slice, SlicedDraws, slice_batch
from dp_trainer.validation import ValidationScore, validate
from dp_trainer.windows import TrainingData, TrainingDataError, WindowSampler, fitting_statistics, split_episodes

#: Keeps the dropout of a step apart from its noise.
DROPOUT_SALT = 0x5DEECE66D


@dataclass(frozen=True)
class StepFigures:
    """What one step gave, over all processes; on the device, so that nothing waits until they are read.

    Attributes:
        loss: () float32.
        gradient_norm: () float32, before clipping.
        stop: () float32, above 0 if a process was asked to stop.
    """

    loss: Tensor
    gradient_norm: Tensor
    stop: Tensor


class TrainingRun:
    """One policy in training on one store.

    All randomness of a step follows from the seed and its number, so a resumed run needs no generator states.

    Args:
        data: the store.
        config: resolved policy configuration.
        seed: of weights, order, noise, augmentation and the held-out split.
        group: the processes that train together.
        device: where the networks are.

    Raises:
        TrainingDataError: the training episodes hold no window.
        ProcessGroupError: the batch cannot be split evenly.
        DeviceError: compiled networks are asked for and there is no compiler.
    """

    def __init__(
        self,
        data: TrainingData,
        config: PolicyConfig,
        seed: int,
        group: ProcessGroup | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.data, self.config, self.seed = data, config, seed
        self.group = group or ProcessGroup()
        self.device = device or torch.device("cpu")
        training = config.training
        episodes, held_out = split_episodes(len(data.episode_ends), training.validation_fraction, seed)
        self.sampler = WindowSampler(data, config, episodes, seed)
        self.held_out = _held_out_sampler(data, config, held_out, seed)
        self.parts = _parts_of_this_process(config, self.group)
        self.policy, self.averaged = self._build_policies()
        self.optimiser = MasterWeightOptimiser(self.policy, training)
        self.optimiser.share(self.group)
        fitted = [*_fitted(self.policy).values(), *_fitted(self.averaged).values()]
        self.group.share([numbers for numbers in fitted if numbers.dtype == torch.float32])
        averages = dict(self.averaged.named_parameters())
        self._averaged_weights: list[Tensor] = [averages[name] for name in self.optimiser.names]
        self.ema = Ema(self.optimiser.masters, training.ema)
        if training.compile:
            compile_networks(self.policy, self.device)
        self._generator = torch.Generator()

    def _build_policies(self) -> tuple[Policy, Policy]:
        """The policy in training and the one that holds the average, equal and on the device."""
        torch.manual_seed(self.seed)
        policy = build_policy(self.config)
        load_pretrained_weights(policy)
        policy.normaliser.fit(fitting_statistics(self.data, self.config))
        policy.fit_head(self.sampler.actions(self.sampler.windows), torch.Generator().manual_seed(self.seed))
        averaged = build_policy(self.config)
        averaged.load_state_dict(policy.state_dict())
        for each in (policy, averaged):
            each.to(self.device)
        averaged.set_precision(torch.float32).requires_grad_(False).eval()
        policy.set_precision(torch.bfloat16 if self.config.training.precision == "bf16" else torch.float32)
        return policy, averaged

    def loader(self, first_step: int, last_step: int) -> BatchLoader:
        """Micro-batches of the steps ``first_step .. last_step - 1``, gathered ahead."""
        training = self.config.training
        return BatchLoader(
            self.windows,
            self.sampler.batch,
            self.parts,
            (first_step, last_step),
            training.loader_threads,
            pinned=self.device.type == "cuda",
        )

    def windows(self, step: int) -> Any:
        """Window numbers (B,) of the whole batch of a step."""
        return self.sampler.indices(step, self.config.training.batch_size)

    def step(self, step: int, pieces: Sequence[Piece], stop: bool = False) -> StepFigures:
        """One optimiser step on the batch in ``pieces``; no weight changes if the gradient is not finite."""
        with explaining_compiler(self.config.training.compile):
            if len(pieces) == 1 and pieces[0].part.is_whole:
                loss, stopping = self._loss(step, pieces[0]), torch.tensor(float(stop))
                loss.backward()
            else:
                loss, stopping = self._in_pieces(step, pieces, stop)
        norm = self.optimiser.step(step)
        self.ema.update(self.optimiser.masters, step)
        return StepFigures(loss.detach(), norm, stopping)

    def _in_pieces(self, step: int, pieces: Sequence[Piece], stop: bool) -> tuple[Tensor, Tensor]:
        """Leave the gradient of the whole batch in the optimiser; returns its loss, and whether any is to stop.

        A loss is a mean under the weights of its windows, so the pieces count by the sums of their weights.
        """
        sums = torch.zeros(3, device=self.device)
        sums[2] = float(stop)
        for piece in pieces:
            counted = self.policy.counted(piece.batch) / (piece.part.total * self.config.action.horizon)
            counted = counted.to(self.device, non_blocking=True)
            with SlicedDraws(self._generator, piece.part):
                loss = self._loss(step, piece)
            (loss * counted).backward()
            self.optimiser.collect()
            sums[:2] += torch.stack((loss.detach().float() * counted, counted))
        gradients = self.optimiser.gradients()
        self.group.sum([*gradients, sums])
        counted = sums[1].clamp_min(1e-9)
        torch._foreach_div_(gradients, counted)
        return sums[0] / counted, sums[2]

    def _loss(self, step: int, piece: Piece) -> Tensor:
        seed = self.seed * 1_000_003 + step
        self._generator.manual_seed(seed)
        dropout_seed = (seed ^ DROPOUT_SALT) + piece.part.start
        torch.default_generator.manual_seed(dropout_seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(dropout_seed)
        training = self.config.training
        with autocast(training.precision, self.device):
            return self.policy.loss(move_batch(piece.batch, self.device), training.noise_draws, self._generator)

    def averaged_policy(self) -> Policy:
        """The policy with the averaged weights, float32."""
        with torch.no_grad():
            torch._foreach_copy_(self._averaged_weights, self.ema.averages)
        return self.averaged

    def score(self) -> ValidationScore | None:
        """Held-out figures of the averaged weights; None if nothing is held out."""
        if self.held_out is None:
            return None
        return validate(self.averaged_policy(), self.held_out, self.seed, self.config.training.validation_windows)

    def state(self) -> dict[str, Tensor]:
        """Tensors that a resumed run needs."""
        averages = zip(self.optimiser.names, self.ema.averages, strict=True)
        return {
            **self.optimiser.state_tensors(),
            **{f"average.{name}": average for name, average in averages},
            **{f"fitted.{name}": numbers for name, numbers in _fitted(self.averaged).items()},
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from :meth:`state`.

        Raises:
            CheckpointError: the tensors are those of another network.
        """
        try:
            self.optimiser.load_state_tensors(tensors)
            for name, average in zip(self.optimiser.names, self.ema.averages, strict=True):
                average.copy_(tensors[f"average.{name}"])
            for policy in (self.policy, self.averaged):
                for name, numbers in _fitted(policy).items():
                    numbers.copy_(tensors.get(f"fitted.{name}", numbers))  # runs begun earlier have none
        except (KeyError, RuntimeError) as error:
            raise CheckpointError(f"the training state is of another network or version: {error}") from None


def _fitted(policy: Policy) -> dict[str, Tensor]:
    """What a policy took from the data and keeps while it is trained: normaliser, cluster centres, bounds.

    Another machine may compute it with other roundings, and k-means then ends elsewhere, so that it is shared by the
    processes of a run and goes with its state.
    """
    weights = dict(policy.named_parameters())
    return {name: numbers for name, numbers in policy.state_dict().items() if name not in weights}


def _parts_of_this_process(config: PolicyConfig, group: ProcessGroup) -> list[Slice]:
    training = config.training
    pieces = group.size * training.accumulation
    if training.batch_size % pieces:
        raise ProcessGroupError(
            f"training.batch_size = {training.batch_size} cannot be split evenly over {group.size} processes with "
            f"{training.accumulation} micro-batches each; it must be a multiple of {pieces}"
        )
    return slice_batch(training.batch_size, pieces, group.rank * training.accumulation, training.accumulation)


def _held_out_sampler(data: TrainingData, config: PolicyConfig, episodes: Any, seed: int) -> WindowSampler | None:
    try:
        return WindowSampler(data, config, episodes, seed) if len(episodes) else None
    except TrainingDataError:
        return None
