"""The choice of a runtime: measured on this processor, compared with the plain path on the policy's own weights.

Times are measured anew at every start, so that two starts may choose differently, and their chunks then differ by
rounding. An export holds the choice; ``reference`` needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from dp_core.configuration import require_choice as check_choice
from torch import Tensor, nn
from torch.nn import functional

from dp_policy.denoiser import given_features
from dp_policy.policy import Policy, VisuomotorPolicy
from dp_policy.runtime.candidate import (
    REFERENCE,
    TOLERANCES,
    Candidate,
    denoiser_candidates,
    denoiser_of,
    encoder_candidates,
    with_parts,
)
from dp_policy.runtime.native.library import CarriedLibrary
from dp_policy.runtime.processor import processor_name
from dp_policy.runtime.trial import Trial, chunks_of, fastest_ms, features_of, make_trials
from dp_policy.runtime.unavailable import RuntimeUnavailableError

#: ``auto`` measures; ``int8`` measures too and also admits 8-bit weights; ``reference`` runs what the weights say.
RUNTIMES = ("auto", "int8", REFERENCE)
#: A candidate must be this much faster than the one taken of those before it, so that noise and little gain decide
#: nothing: repeated measurements on a quiet processor differ by a few per cent.
MARGIN = 1.25
ROUNDS = 5


@dataclass(frozen=True)
class Choice:
    """Names of the runtimes of both parts."""

    denoiser: str = REFERENCE
    encoder: str = REFERENCE


@dataclass(frozen=True)
class Stored:
    """A choice made before, by an export.

    Attributes:
        choice: taken where the processor is the same.
        processor: its name.
        num_threads: the choice was measured with.
        library: the compiled one that came with it; None: it has none.
    """

    choice: Choice
    processor: str
    num_threads: int
    library: CarriedLibrary | None = None

    @property
    def fits(self) -> bool:
        """Whether the measurements hold here."""
        return self.processor == processor_name() and self.num_threads == torch.get_num_threads()


@dataclass(frozen=True)
class Verdict:
    """What became of one candidate.

    Attributes:
        part: ``denoiser`` or ``encoder``.
        name: of the candidate.
        ms: per evaluation, or per frame; None where it was not measured.
        difference: of the chunks from the plain ones', the largest, normalised units; None where it was not compared.
        reason: why it was refused; empty if it was not.
    """

    part: str
    name: str
    ms: float | None = None
    difference: float | None = None
    reason: str = ""

    def __str__(self) -> str:
        numbers = [f"{self.ms:.2f} ms"] if self.ms is not None else []
        numbers += [f"differs by {self.difference:.2g}"] if self.difference is not None else []
        return f"{self.part} {self.name}: {', '.join([*numbers, *([self.reason] if self.reason else [])])}"


@dataclass
class Selection:
    """A policy made to run fast, and why this way.

    Attributes:
        policy: a view of the policy with its parts exchanged; shares the weights.
        choice: of both parts.
        verdicts: of all candidates, the plain one and the chosen one too.
        source: how the choice came about.
    """

    policy: Policy
    choice: Choice = field(default_factory=Choice)
    verdicts: list[Verdict] = field(default_factory=list)
    source: str = ""

    @property
    def description(self) -> str:
        """One line: what runs, why, and what was not taken."""
        chosen = f"denoiser {self.choice.denoiser}, encoder {self.choice.encoder} ({self.source})"
        return "; ".join([chosen, *map(str, self.verdicts)])


def select_runtime(policy: Policy, runtime: str = "auto", stored: Stored | None = None) -> Selection:
    """Choose how to run a policy.

    Args:
        policy: in evaluation mode, float32.
        runtime: one of ``RUNTIMES``.
        stored: a choice made before, taken without measuring if it fits, runs here and agrees with the plain path.
            If it has 8-bit weights, these are admitted here too.

    Raises:
        ConfigurationError: an unknown runtime.
    """
    check_choice("runtime", runtime, RUNTIMES)
    if not isinstance(policy, VisuomotorPolicy):
        return Selection(policy, source=f"{type(policy).__name__} has no parts to exchange")
    if runtime == REFERENCE:
        return Selection(with_parts(policy), source="asked for")
    return _Contest(policy, runtime, stored).hold()


class _Contest:
    """One start-up's measurements and comparisons."""

    def __init__(self, policy: VisuomotorPolicy, runtime: str, stored: Stored | None) -> None:
        self._policy = policy
        self._carried = None if stored is None else stored.library
        known = {item.name: item.precision for item in denoiser_candidates()}
        bytes_held = stored is not None and known.get(stored.choice.denoiser) == "int8"
        self._bytes = runtime == "int8" or bytes_held
        asked = runtime == "auto" or bytes_held
        self._stored = stored.choice if stored is not None and stored.fits and asked else None
        self._taken: dict[str, nn.Module | None] = {}  # an encoder is compared together with the denoiser taken
        self._trials: list[Trial] = make_trials(policy)
        source = f"measured on {processor_name()}" if self._stored is None else "stored by the export"
        self._selection = Selection(policy, source=source)

    def hold(self) -> Selection:
        """Choose both parts, one after the other."""
        names = {}
        for part, candidates in (("denoiser", self._denoisers()), ("encoder", self._encoders())):
            stored = None if self._stored is None else getattr(self._stored, part)
            names[part], self._taken[part] = self._take(part, candidates, stored)
        self._selection.policy = with_parts(self._policy, **self._taken)
        self._selection.choice = Choice(**names)
        return self._selection

    @cached_property
    def _features(self) -> list[Tensor]:
        """Of each trial, by the plain path."""
        return [features_of(self._policy, trial) for trial in self._trials]

    @cached_property
    def _expected(self) -> Tensor:
        """The plain path's chunks; drawn where something is compared with them, since they take long."""
        return chunks_of(self._policy, self._features)

    def _denoisers(self) -> list[Candidate]:
        if denoiser_of(self._policy) is None:
            return []
        return [item for item in denoiser_candidates(self._carried) if item.precision != "int8" or self._bytes]

    def _encoders(self) -> list[Candidate]:
        return encoder_candidates(self._carried) if self._policy.config.observation.cameras else []

    def _take(self, part: str, candidates: list[Candidate], stored: str | None) -> tuple[str, nn.Module | None]:
        if stored == REFERENCE:
            return REFERENCE, None
        if stored is not None:
            built = self._build(part, [item for item in candidates if item.name == stored])
            known = {item.name: item for item in candidates}
            if stored in built and self._agrees(part, known[stored], built[stored], None):
                return stored, built[stored]
            self._selection.source = f"measured on {processor_name()}, as the stored {part} {stored} does not run here"
            candidates = [item for item in candidates if item.name != stored]
        name, module = self._fastest(part, [item for item in candidates if not item.reserve])
        reserve = [item for item in candidates if item.reserve]
        if module is None:
            return self._fastest(part, reserve)
        self._selection.verdicts += [Verdict(part, item.name, reason="not tried") for item in reserve]
        return name, module

    def _build(self, part: str, candidates: list[Candidate]) -> dict[str, nn.Module]:
        built = {}
        for item in candidates:
            try:
                built[item.name] = item.build(self._policy)
            except RuntimeUnavailableError as error:
                self._selection.verdicts.append(Verdict(part, item.name, reason=f"refused: {error}"))
        return built

    def _fastest(self, part: str, candidates: list[Candidate]) -> tuple[str, nn.Module | None]:
        """The fastest that agrees with the plain path, see :func:`fastest_by_margin`."""
        known, built = {item.name: item for item in candidates}, self._build(part, candidates)
        if not built:
            return REFERENCE, None
        modules = {REFERENCE: None, **built}
        times = fastest_ms({name: self._timed(part, module) for name, module in modules.items()}, ROUNDS)
        if (part, REFERENCE) not in [(verdict.part, verdict.name) for verdict in self._selection.verdicts]:
            self._selection.verdicts.append(Verdict(part, REFERENCE, times[REFERENCE]))
        while True:
            best = fastest_by_margin(times)
            if best == REFERENCE or self._agrees(part, known[best], built[best], times[best]):
                break
            del times[best]
        for name, ms in times.items():
            if name not in (best, REFERENCE):
                self._selection.verdicts.append(Verdict(part, name, ms, reason="not the fastest"))
        return best, modules[best]

    def _timed(self, part: str, module: nn.Module | None) -> Callable[[], object]:
        """One evaluation of the denoiser, or one frame of the first camera."""
        policy, trial = with_parts(self._policy, **{part: module}), self._trials[0]
        if part == "encoder":
            camera = policy.config.observation.cameras[0]
            return lambda: policy.encode_images(camera, trial.images[camera][:, 0])
        return evaluation(policy, self._features[0])

    def _agrees(self, part: str, candidate: Candidate, module: nn.Module, ms: float | None) -> bool:
        view = with_parts(self._policy, **{**self._taken, part: module})
        features = [features_of(view, trial) for trial in self._trials] if part == "encoder" else self._features
        difference = float((chunks_of(view, features) - self._expected).abs().max())
        most = TOLERANCES[candidate.precision]
        reason = "" if difference <= most else f"refused: more than {most:g} from the plain path"
        self._selection.verdicts.append(Verdict(part, candidate.name, ms, difference, reason))
        return not reason


def fastest_by_margin(times: Mapping[str, float]) -> str:
    """The name that wins: the first, unless a later one is faster by more than ``MARGIN``; and so on from that one.

    Args:
        times: milliseconds by name, in the order of preference.
    """
    names = iter(times)
    best = next(names)
    for name in names:
        if times[name] * MARGIN < times[best]:
            best = name
    return best


def evaluation(policy: VisuomotorPolicy, features: Tensor) -> Callable[[], object]:
    """One evaluation of a policy's denoiser on noise."""
    denoiser, action = denoiser_of(policy), policy.config.action
    assert denoiser is not None
    sample = torch.randn(
        (1, action.horizon, action.dim + (action.prefix > 0)), generator=torch.Generator().manual_seed(0)
    )
    with torch.inference_mode():
        condition = functional.pad(features, (0, given_features(policy.config)))  # nothing is given
        prepared = denoiser.prepare(condition.to(denoiser.dtype), torch.tensor([50]))
    return lambda: denoiser.denoise(sample, prepared, 0)


__all__ = ["MARGIN", "RUNTIMES", "Choice", "Selection", "Stored", "Verdict", "evaluation", "select_runtime"]
