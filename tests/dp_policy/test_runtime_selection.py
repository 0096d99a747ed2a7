"""The engine takes the fastest runtime that agrees with the plain one, and says why."""

from __future__ import annotations

import dataclasses
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from dp_core.configuration import ConfigurationError
from dp_policy.checkpoint import LoadedPolicy
from dp_policy.config import PolicyConfig
from dp_policy.denoiser import given_features
from dp_policy.engine import Engine
from dp_policy.policy import VisuomotorPolicy
from dp_policy.runtime import candidate, processor, selection, trial
from dp_policy.runtime.fast_denoiser import FastDenoiser
from dp_policy.runtime.native import library
from dp_policy.runtime.selection import Choice, Verdict, select_runtime
from dp_policy.runtime.unavailable import RuntimeUnavailableError

from .runtime_choices import SAMPLER, require, saved, times


@pytest.fixture
def loaded(small_config: Callable[..., PolicyConfig], tmp_path: Path) -> LoadedPolicy:
    return saved(small_config(diffusion=SAMPLER), tmp_path / "checkpoint")


def test_fastest_is_taken_and_described(loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    require("onednn-fp32", loaded.policy)  # type: ignore[arg-type]
    times(monkeypatch, onednn_fp32=2.0)
    chosen = select_runtime(loaded.policy)
    assert chosen.choice == Choice("onednn-fp32", "reference")
    assert "denoiser onednn-fp32, encoder reference (measured on " in chosen.description
    assert "denoiser reference: 10.00 ms" in chosen.description
    assert "denoiser onednn-fp32: 2.00 ms, differs by" in chosen.description
    assert "native-int8" not in chosen.description


def test_reserves_are_not_tried_where_another_is_taken(loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    require("native-bf16", loaded.policy)  # type: ignore[arg-type]
    times(monkeypatch, native_bf16=5.0, onednn_fp32=2.0)
    chosen = select_runtime(loaded.policy)
    assert chosen.choice.denoiser == "native-bf16"
    assert "denoiser onednn-fp32: not tried" in chosen.description


def test_ties_go_to_the_plain_path(loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    times(monkeypatch, native_bf16=9.5, onednn_fp32=9.4, onednn_bf16=9.3)
    assert select_runtime(loaded.policy).choice == Choice()


@pytest.mark.parametrize(
    ("measured", "taken"),
    [
        ({"reference": 10.0, "a": 8.0, "b": 8.0}, "reference"),  # exactly the margin: not more
        ({"reference": 10.0, "a": 7.99, "b": 10.0}, "a"),
        ({"reference": 10.0, "a": 5.0, "b": 4.01}, "a"),  # faster, but not by the margin: the order decides
        ({"reference": 10.0, "a": 5.0, "b": 3.99}, "b"),
        ({"reference": 10.0, "a": 9.0, "b": 7.9}, "b"),  # what was not taken bars nobody
        ({"reference": 10.0}, "reference"),
    ],
)
def test_a_later_runtime_has_to_win_by_the_margin(measured: dict[str, float], taken: str) -> None:
    assert selection.MARGIN == 1.25
    assert selection.fastest_by_margin(measured) == taken


def test_noise_between_starts_changes_nothing(loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    require("native-int8", loaded.policy)  # type: ignore[arg-type]
    choices = []
    for bf16, int8 in ((2.0, 1.9), (1.9, 2.0), (2.1, 1.8)):
        times(monkeypatch, native_bf16=bf16, native_int8=int8)
        choices.append(select_runtime(loaded.policy, "int8").choice.denoiser)
    assert choices == ["native-bf16"] * 3


def test_too_large_a_difference_is_refused_with_the_numbers(
    loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("onednn-bf16", loaded.policy)  # type: ignore[arg-type]
    times(monkeypatch, onednn_bf16=1.0, onednn_fp32=5.0)
    monkeypatch.setitem(candidate.TOLERANCES, "bf16", 1e-9)
    chosen = select_runtime(loaded.policy)
    assert chosen.choice.denoiser == "onednn-fp32"
    refused = next(verdict for verdict in chosen.verdicts if verdict.name == "onednn-bf16")
    assert refused.difference is not None and refused.difference > 1e-9
    assert "refused: more than 1e-09 from the plain path" in chosen.description


def test_a_runtime_that_does_not_see_given_actions_is_refused(
    small_config: Callable[..., PolicyConfig], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a plan it agrees to the bit, and every seam would be wrong."""

    class Deaf(FastDenoiser):
        def _prepare(self, condition: torch.Tensor, steps: torch.Tensor) -> Any:
            numbers = condition.clone()
            numbers[:, -given_features(self.plain_config) :] = 0.0
            return self.plain.prepare(numbers, steps)

        def _denoise(self, sample: torch.Tensor, prepared: Any, index: int) -> torch.Tensor:
            return self.plain.denoise(sample, prepared, index)

    def build(policy: VisuomotorPolicy) -> torch.nn.Module:
        deaf = Deaf(candidate.denoiser_of(policy))  # type: ignore[arg-type]
        deaf.plain_config = policy.config
        return deaf

    config = small_config(diffusion=SAMPLER, action={"prefix": 4})
    policy = saved(config, tmp_path / "checkpoint").policy
    monkeypatch.setattr(selection, "denoiser_candidates", lambda *_: [candidate.Candidate("deaf", "fp32", build)])
    times(monkeypatch, deaf=1.0)
    chosen = select_runtime(policy)
    assert chosen.choice.denoiser == "reference"
    assert next(verdict for verdict in chosen.verdicts if verdict.name == "deaf").reason.startswith("refused: more")


def test_a_runtime_that_is_right_for_one_observation_only_is_refused(
    loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Narrow(FastDenoiser):
        """Right for the first observation that it sees."""

        first: torch.Tensor | None = None

        def _prepare(self, condition: torch.Tensor, steps: torch.Tensor) -> Any:
            self.first = condition.clone() if self.first is None else self.first
            return self.plain.prepare(self.first, steps)

        def _denoise(self, sample: torch.Tensor, prepared: Any, index: int) -> torch.Tensor:
            return self.plain.denoise(sample, prepared, index)

    def build(policy: VisuomotorPolicy) -> torch.nn.Module:
        return Narrow(candidate.denoiser_of(policy))  # type: ignore[arg-type]

    narrow = candidate.Candidate("narrow", "fp32", build)
    monkeypatch.setattr(selection, "denoiser_candidates", lambda *_: [narrow])
    times(monkeypatch, narrow=1.0)
    chosen = select_runtime(loaded.policy)
    assert chosen.choice.denoiser == "reference"
    assert next(verdict for verdict in chosen.verdicts if verdict.name == "narrow").reason.startswith("refused: more")
    monkeypatch.setattr(trial, "TRIALS", 1)
    assert select_runtime(loaded.policy).choice.denoiser == "narrow"  # one observation would not have shown it


def test_missing_instructions_and_compilers_are_named(
    loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processor, "processor_flags", lambda: frozenset({"avx2"}))
    chosen = select_runtime(loaded.policy)
    assert "denoiser native-bf16: refused: the processor has no avx512f" in chosen.description
    assert "encoder onednn-bf16: refused: the processor has no avx512_bf16" in chosen.description
    monkeypatch.setattr(processor, "processor_flags", lambda: frozenset(library.NEEDED_FLAGS))
    monkeypatch.setenv("DP_CACHE_DIR", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    assert "no C++ compiler (g++, clang++, c++)" in select_runtime(loaded.policy).description
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DP_CACHE_DIR", str(tmp_path / "file"))
    if shutil.which("g++"):
        with pytest.raises(RuntimeUnavailableError, match="could not write"):
            library.compile_library(library.cache_folder() / "library.so")


def test_machine_code_of_others_is_not_run(
    loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A library is taken from one's own cache, and from an export only where none can be compiled."""
    monkeypatch.setattr(library, "missing_flags", lambda flags: "")
    monkeypatch.setattr(library, "compile_library", lambda target: target.write_text("own"))
    cache, export = tmp_path / "cache", tmp_path / "export"
    for folder in (cache, export):
        folder.mkdir(mode=0o755)
    (export / library.library_name()).write_text("foreign")
    monkeypatch.setenv("DP_CACHE_DIR", str(cache))
    found = library.find_library(library.CarriedLibrary(export / library.library_name(), ""))
    assert found.parent == cache and found.read_text() == "own"
    cache.chmod(0o777)
    with pytest.raises(RuntimeUnavailableError, match="others can write"):
        library.find_library()
    cache.chmod(0o1777)  # as /tmp: nobody exchanges the files of others
    assert library.find_library() == found
    found.chmod(0o666)
    with pytest.raises(RuntimeUnavailableError, match="set DP_CACHE_DIR"):
        library.find_library()
    found.chmod(0o644)
    monkeypatch.setattr(
        library.os, "getuid", lambda: 12345
    )  # neither its owner nor, unless these tests are root's, root
    if found.stat().st_uid:
        with pytest.raises(RuntimeUnavailableError, match="others can write"):
            library.find_library()


def test_a_user_without_a_home_runs_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(library.Path, "home", homeless)
    for name in ("DP_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeUnavailableError, match="set DP_CACHE_DIR"):
        library.cache_folder()


def test_eight_bits_only_if_asked(loaded: LoadedPolicy, monkeypatch: pytest.MonkeyPatch) -> None:
    require("native-int8", loaded.policy)  # type: ignore[arg-type]
    times(monkeypatch, native_int8=1.0, native_bf16=2.0)
    assert select_runtime(loaded.policy).choice.denoiser == "native-bf16"
    assert select_runtime(loaded.policy, "int8").choice.denoiser == "native-int8"


def test_reference_is_what_the_weights_say(loaded: LoadedPolicy) -> None:
    chosen = select_runtime(loaded.policy, "reference")
    assert chosen.choice == Choice() and chosen.verdicts == []
    features = torch.ones(1, loaded.policy.head.condition_dim)  # type: ignore[union-attr]
    plans = [
        policy.plan(features, generator=torch.Generator().manual_seed(1)) for policy in (loaded.policy, chosen.policy)
    ]
    torch.testing.assert_close(plans[0], plans[1], atol=0.0, rtol=0.0)


def test_unknown_runtimes_are_errors(loaded: LoadedPolicy) -> None:
    with pytest.raises(ConfigurationError, match="auto, int8, reference"):
        Engine(loaded, runtime="fastest")


@pytest.mark.parametrize("method", ["flow", "two_step", "regression", "lstm_gmm"])
def test_every_method_runs(method: str, small_config: Callable[..., PolicyConfig], tmp_path: Path) -> None:
    config = small_config().to_dict() | {"method": method, "action": {"horizon": 8, "steps": 4}}
    config.pop("diffusion")
    if method == "lstm_gmm":
        config.pop("denoiser")
        config["action"] = {"horizon": 1, "steps": 1}
    loaded = saved(PolicyConfig.from_dict(config), tmp_path / "checkpoint")
    fast, plain = (Engine(loaded, warmup_runs=0, runtime=runtime) for runtime in ("auto", "reference"))
    observation = plain.blank_observation()
    np.testing.assert_allclose(fast.infer(*observation).actions, plain.infer(*observation).actions, atol=0.1)


def test_setting_continuity_reaches_no_other_engine(loaded: LoadedPolicy) -> None:
    engines = [Engine(loaded, warmup_runs=0, runtime="reference", continuity=choice) for choice in ("none", "coherent")]
    assert [engine._policy.continuity for engine in engines] == ["none", "coherent"]


def test_trials_look_like_observations(loaded: LoadedPolicy) -> None:
    window = trial.make_trial(loaded.policy).images["front"]  # type: ignore[arg-type]
    assert window.shape == (1, 1, 32, 32, 3) and window.dtype == torch.uint8
    assert 10 < float(window.float().std()) < 100
    assert torch.equal(window, trial.make_trial(loaded.policy).images["front"])  # type: ignore[arg-type]


def test_trials_differ_in_images_and_states(loaded: LoadedPolicy) -> None:
    trials = trial.make_trials(loaded.policy)  # type: ignore[arg-type]
    assert len(trials) == 4
    for one, other in itertools.combinations(trials, 2):
        assert not torch.equal(one.images["front"], other.images["front"])
        assert not torch.equal(one.proprioception, other.proprioception)


def test_verdicts_read_as_text() -> None:
    assert str(Verdict("denoiser", "a", 1.5, 0.0123)) == "denoiser a: 1.50 ms, differs by 0.012"
    assert str(Verdict("encoder", "b", reason="refused: x")) == "encoder b: refused: x"
    assert dataclasses.asdict(Choice()) == {"denoiser": "reference", "encoder": "reference"}
