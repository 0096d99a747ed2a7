from __future__ import annotations

import pytest
from dp_policy.config import PolicyConfig, PolicyConfigError
from dp_policy.overrides import override

CONFIG = PolicyConfig.from_dict({"name": "test"})


def test_values_of_every_kind() -> None:
    changed = override(
        CONFIG,
        ["training.batch_size=128", "denoiser.sizes=[64, 128]", "training.learning_rate=3e-4", "name=other",
         "training.ema.decay=0.9", "training.compile=true", "method=regression"],
    )  # fmt: skip
    assert changed.training.batch_size == 128 and changed.denoiser.sizes == (64, 128)
    assert changed.training.learning_rate == 3e-4 and changed.training.ema.decay == 0.9
    assert changed.name == "other" and changed.training.compile and changed.method == "regression"
    assert CONFIG.training.batch_size == 64 and override(CONFIG, []) is CONFIG


@pytest.mark.parametrize(
    ("assignment", "named"),
    [
        ("training.batchsize=3", r"training\.batchsize: unknown key; valid keys: .*batch_size"),
        ("training.steps=0", r"training\.steps: 0 is out of range"),
        ("training.steps=many", r"training\.steps: expected int, got 'many'"),
        ("training.steps", "expected section.key=value"),
        ("name.first=x", "'name' is a value, not a section"),
        ("training.betas=[0.9", "not YAML"),
        ("training.accumulation=5", "must divide batch_size = 64"),
        ("flow.inference_steps=2", r"would change nothing: method 'diffusion'.*its sections: .*denoiser, diffusion"),
    ],
)
def test_errors_name_the_key(assignment: str, named: str) -> None:
    with pytest.raises(PolicyConfigError, match=named):
        override(CONFIG, [assignment])


def test_sections_are_those_of_the_method_changed_to() -> None:
    changed = override(CONFIG, ["flow.inference_steps=2", "method=flow"])
    assert changed.method == "flow" and changed.flow.inference_steps == 2
    with pytest.raises(PolicyConfigError, match="method 'bet' has no section 'denoiser'"):
        override(CONFIG, ["method=bet", "denoiser.kind=transformer"])
