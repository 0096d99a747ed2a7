"""The policy: observations in, chunks of actions in physical units out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dp_policy.config import PolicyConfig
from dp_policy.continuity import continuation, resolve_continuity
from dp_policy.encoders import ObservationEncoder
from dp_policy.heads.build import build_head
from dp_policy.normaliser import Normaliser


class ObservationError(ValueError):
    """An observation does not have the cameras or shapes that the policy was trained with."""


@dataclass(frozen=True)
class Batch:
    """One batch of training windows.

    Attributes:
        images: per camera (B, To, H, W, 3) uint8, newest frame last.
        proprioception: (B, To, P) float32, physical units.
        actions: (B, Tp, A) float32, physical units; action ``past`` belongs to the newest frame's time.
        weights: (B, Tp) float32 loss weights, below 1 where the chunk reaches past the episode.
    """

    images: Mapping[str, Tensor]
    proprioception: Tensor
    actions: Tensor
    weights: Tensor


class Policy(nn.Module, ABC):
    """The seam between learning and running: encode once per frame, plan chunks, compute a training loss."""

    config: PolicyConfig
    normaliser: Normaliser

    @abstractmethod
    def encode_frame(
        self, images: Mapping[str, Tensor], proprioception: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Features of single frames, cacheable: (B, H, W, 3) uint8 each and (B, P) to (B, F)."""

    @abstractmethod
    def encode_images(self, camera: str, images: Tensor) -> Tensor:
        """What one camera adds to the features of frames, cacheable: (B, H, W, 3) uint8 to (B, F_c)."""

    @abstractmethod
    def join_features(self, image_features: Mapping[str, Tensor], proprioception: Tensor) -> Tensor:
        """Features of observation windows, as :meth:`encode` gives them, in deployment.

        Args:
            image_features: per camera (B, To, F_c) of :meth:`encode_images`, newest last.
            proprioception: (B, To, P) float32, physical units.
        """

    @property
    @abstractmethod
    def continuity(self) -> str:
        """How chunks go on from the plan in execution, one of :data:`dp_policy.continuity.CONTINUITIES` but ``auto``.

        Set to any of them, ``auto`` too. Raises PolicyConfigError when it is one that this policy cannot do.
        """

    @continuity.setter
    @abstractmethod
    def continuity(self, choice: str) -> None: ...

    @abstractmethod
    def given(self, n_late: int, previous_length: int) -> int:
        """How many leading actions of a chunk will be those of the plan in execution, exactly.

        Args:
            n_late: as for :meth:`plan`.
            previous_length: actions L of the plan; 0 without one.
        """

    @abstractmethod
    def plan(
        self,
        features: Tensor,
        previous_plan: Tensor | None = None,
        n_late: int = 0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Chunks of actions.

        Args:
            features: (B, To * F) of :meth:`encode`.
            previous_plan: (B, L, A) what is left of the chunk in execution, physical units, L <= chunk; its first
                action belongs to this observation's time.
            n_late: leading actions of ``previous_plan`` that will have run before the new chunk arrives.
            generator: draws the noise.

        Returns:
            (B, chunk, A) float32, physical units; ``chunk`` = Tp - past, the first at the newest observation's time.
            The leading ``given(n_late, L)`` are those of ``previous_plan``, bit for bit.
        """

    @abstractmethod
    def fit_head(self, actions: Tensor, generator: torch.Generator) -> None:
        """Take from (N, Tp, A) action sequences of the training episodes, physical units, what the head needs."""

    @abstractmethod
    def set_precision(self, dtype: torch.dtype) -> Policy:
        """Convert the networks (never the normaliser) to ``dtype``, in the fastest memory layout; returns self."""

    @abstractmethod
    def loss(self, batch: Batch, draws: int, generator: torch.Generator) -> Tensor:
        """Scalar training loss, with augmentation drawn from ``generator``."""

    @abstractmethod
    def counted(self, batch: Batch) -> Tensor:
        """() what :meth:`loss` divides by; losses of parts of a batch are joined by it."""

    def encode(
        self, images: Mapping[str, Tensor], proprioception: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Features of an observation window.

        Args:
            images: per camera (B, To, H, W, 3) uint8 rgb, newest last.
            proprioception: (B, To, P) float32, physical units.
            generator: draws the augmentation; None in deployment.

        Returns:
            (B, To * F), oldest frame first.

        Raises:
            ObservationError: a camera is missing or a shape is not the trained one.
        """
        self._check(images, proprioception)
        frames = {camera: pixels.flatten(0, 1) for camera, pixels in images.items()}
        features = self.encode_frame(frames, proprioception.flatten(0, 1), generator)
        return features.view(proprioception.shape[0], -1)

    def _check(self, images: Mapping[str, Tensor], proprioception: Tensor) -> None:
        wanted = self.config.observation
        missing = [camera for camera in wanted.cameras if camera not in images]
        if missing:
            raise ObservationError(
                f"the policy needs camera {missing[0]!r}; given: {', '.join(sorted(images)) or 'none'}"
            )
        shape = (wanted.history, wanted.image_height, wanted.image_width, 3)
        for camera in wanted.cameras:
            if tuple(images[camera].shape[1:]) != shape or images[camera].dtype != torch.uint8:
                raise ObservationError(
                    f"images of {camera!r} must be uint8 (B, To, H, W, 3) with {shape}, "
                    f"got {images[camera].dtype} {tuple(images[camera].shape[1:])}"
                )
        if tuple(proprioception.shape[1:]) != (wanted.history, wanted.proprioception_dim):
            raise ObservationError(
                f"proprioception must be (B, {wanted.history}, {wanted.proprioception_dim}), "
                f"got {tuple(proprioception.shape)}"
            )


class VisuomotorPolicy(Policy):
    """Encoder and head; the head of ``config.method`` decides how chunks come about."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        self.config = config
        seen = config.observation
        self.normaliser = Normaliser(
            config.normaliser, seen.proprioception_dim, config.action.dim, cameras=len(seen.cameras)
        )
        self.encoder = ObservationEncoder(config)
        self.head = build_head(config, self.encoder.frame_features)
        self._continuity = resolve_continuity(config, "auto")

    @property
    def continuity(self) -> str:
        """How chunks go on from the plan, see :attr:`Policy.continuity`."""
        return self._continuity

    @continuity.setter
    def continuity(self, choice: str) -> None:
        self._continuity = resolve_continuity(self.config, choice)

    def given(self, n_late: int, previous_length: int) -> int:
        """Leading actions that are the plan's, see :meth:`Policy.given`."""
        most = {"prefix": self.config.action.prefix, "guided": previous_length}.get(self._continuity, 0)
        return max(0, min(n_late, previous_length, most))

    def set_precision(self, dtype: torch.dtype) -> VisuomotorPolicy:
        """Convert the networks (never the normaliser) to ``dtype``; image networks become channels-last."""
        self.encoder.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.head.to(dtype=dtype)
        return self

    def encode_frame(
        self, images: Mapping[str, Tensor], proprioception: Tensor, generator: torch.Generator | None = None
    ) -> Tensor:
        """Features of single frames, see :meth:`Policy.encode_frame`."""
        return self.encoder(images, proprioception, self.normaliser, generator)

    def encode_images(self, camera: str, images: Tensor) -> Tensor:
        """What one camera adds to the features, see :meth:`Policy.encode_images`."""
        return self.encoder.encode_images(camera, images, self.normaliser)

    def join_features(self, image_features: Mapping[str, Tensor], proprioception: Tensor) -> Tensor:
        """Features of windows, see :meth:`Policy.join_features`."""
        parts = {camera: features.flatten(0, 1) for camera, features in image_features.items()}
        joined = self.encoder.join(parts, proprioception.flatten(0, 1), self.normaliser)
        return joined.view(proprioception.shape[0], -1)

    def plan(
        self,
        features: Tensor,
        previous_plan: Tensor | None = None,
        n_late: int = 0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Chunks of actions, see :meth:`Policy.plan`.

        With ``diffusion.candidates`` above 1 several chunks are drawn and the one nearest to the plan in execution
        is taken (backward coherence of arXiv 2408.17355). The network does not know which way it set out a moment
        ago; without the choice it may turn back while both ways are still open.
        """
        past = self.config.action.past
        if previous_plan is None or not previous_plan.shape[1] or self._continuity == "none":
            return self.normaliser.action.restore(self.head.sample(features, generator)[:, past:])
        given, draws = self.given(n_late, previous_plan.shape[1]), self.head.candidates
        # Guidance differentiates, which inference mode forbids, for tensors made in it too.
        with torch.inference_mode(mode=torch.is_inference_mode_enabled() and self._continuity != "guided"):
            plan = self.normaliser.action.normalise(previous_plan.clone())
            going_on = continuation(self.config, self._continuity, plan, given)
            chunks = self.head.sample(features.clone(), generator, draws, going_on)[:, past:]
        if draws > 1:
            chunks = nearest_to_plan(chunks, plan, draws)
        # What was normalised and restored is off by a rounding; the robot executes the plan's own numbers.
        return torch.cat((previous_plan[:, :given], self.normaliser.action.restore(chunks)[:, given:]), dim=1)

    def fit_head(self, actions: Tensor, generator: torch.Generator) -> None:
        """Let the head take what it needs from the data, once before training, see :meth:`ActionHead.fit`."""
        self.head.fit(self.normaliser.action.normalise(actions), generator)

    def loss(self, batch: Batch, draws: int, generator: torch.Generator) -> Tensor:
        """Loss of the head on one batch, see :meth:`ActionHead.loss`."""
        features = self.encode(batch.images, batch.proprioception, generator)
        actions = self.normaliser.action.normalise(batch.actions)
        return self.head.loss(features, actions, batch.weights, draws, generator)

    def counted(self, batch: Batch) -> Tensor:
        """Sum of the weights, as the head counts them, see :meth:`ActionHead.counted`."""
        return self.head.counted(batch.weights)


def nearest_to_plan(chunks: Tensor, plan: Tensor, draws: int) -> Tensor:
    """Of each observation's chunks the one nearest to what is left of its plan.

    Args:
        chunks: (B * draws, Tp, A), normalised, an observation's side by side.
        plan: (B, L, A), normalised, starting at the same time; the first min(L, Tp) actions count.
        draws: chunks per observation.

    Returns:
        (B, Tp, A).
    """
    candidates = chunks.view(-1, draws, *chunks.shape[1:])
    shared = min(plan.shape[1], chunks.shape[1])
    distance = (candidates[:, :, :shared] - plan[:, None, :shared]).square().sum(dim=(2, 3))
    return candidates[torch.arange(len(candidates)), distance.argmin(dim=1)]


def build_policy(config: PolicyConfig) -> Policy:
    """The policy that the configuration describes, with fresh weights and an identity normaliser."""
    return VisuomotorPolicy(config)
