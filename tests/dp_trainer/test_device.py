from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from dp_policy.config import PolicyConfig
from dp_policy.overrides import override
from dp_policy.policy import build_policy
from dp_trainer.device import DeviceError, choose_device, compile_networks
from dp_trainer.train import train

HAS_GPU = torch.cuda.is_available()


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_a_missing_gpu_is_named(blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig]) -> None:
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(DeviceError, match=r"training\.device = cuda, but this torch .* use auto or cpu"):
        train(blob_store, state_config(device="cuda"), tmp_path)


@pytest.mark.skipif(not HAS_GPU, reason="no GPU")
def test_a_gpu_follows_the_processor(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig]
) -> None:
    runs = [train(blob_store, state_config(device=name), tmp_path / name) for name in ("cpu", "cuda")]
    assert runs[1].losses == pytest.approx(runs[0].losses, rel=1e-2)
    resumed = train(blob_store, state_config(device="cuda"), tmp_path / "cuda", steps=25, resume=True)
    assert resumed.first_step == 20 and len(resumed.losses) == 5


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    policy = build_policy(PolicyConfig.from_dict({"name": "test", "denoiser": {"sizes": [8]}}))
    with pytest.raises(DeviceError, match=r"needs a C\+\+ compiler and 'g\+\+' is not found"):
        compile_networks(policy, torch.device("cpu"))


def test_a_compiler_that_fails_is_explained(
    blob_store: Path, tmp_path: Path, state_config: Callable[..., PolicyConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor import config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", ("/bin/false",))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))  # nothing compiled earlier may be found
    config = override(state_config(compile=True, device="cpu"), ["denoiser.sizes=[8]"])
    with pytest.raises(DeviceError, match=r"torch\.compile failed: .*training\.compile = false trains without it"):
        train(blob_store, config, tmp_path / "run")


def test_encoders_and_denoiser_are_compiled_and_weights_keep_their_names() -> None:
    observation = {"cameras": ["front", "wrist"], "image_height": 32, "image_width": 32}
    config = PolicyConfig.from_dict({"name": "test", "observation": observation, "denoiser": {"sizes": [8]}})
    policy = build_policy(config)
    names = list(policy.state_dict())
    parts = ["encoder.networks.front", "encoder.networks.wrist", "head.denoiser"]
    assert compile_networks(policy, torch.device("cpu")) == parts
    assert list(policy.state_dict()) == names
