from __future__ import annotations

from collections.abc import Callable

import pytest
from dp_policy.config import PolicyConfig, PolicyConfigError
from dp_policy.continuity import CONTINUITIES, resolve_continuity


def of_method(config: PolicyConfig, method: str) -> PolicyConfig:
    return PolicyConfig.from_dict({**config.to_dict(), "method": method})


def test_auto_is_the_best_that_was_trained_for(small_config: Callable[..., PolicyConfig]) -> None:
    assert resolve_continuity(small_config(), "auto") == "coherent"
    assert resolve_continuity(small_config(diffusion={"warm_start": 0.3}), "auto") == "warm_start"
    assert resolve_continuity(small_config(diffusion={"warm_start": 0.3}, action={"prefix": 4}), "auto") == "prefix"
    for method in ("two_step", "regression"):
        assert resolve_continuity(of_method(small_config(), method), "auto") == "coherent"
    for choice in set(CONTINUITIES) - {"auto"}:
        assert resolve_continuity(small_config(action={"prefix": 4}), choice) == choice


@pytest.mark.parametrize(
    ("method", "choice", "words"),
    [
        (
            "diffusion",
            "prefix",
            ["prefix", "'test'", "action.prefix = 0", "valid: auto, guided, warm_start, coherent, none"],
        ),
        ("two_step", "guided", ["guided", "two_step", "diffusion and flow", "valid: auto, coherent, none"]),
        ("regression", "warm_start", ["warm_start", "regression", "diffusion and flow", "valid: auto, coherent, none"]),
        ("diffusion", "smooth", ["continuity", "smooth", "prefix", "coherent"]),
    ],
)
def test_errors_say_why_and_what_is_possible(
    small_config: Callable[..., PolicyConfig], method: str, choice: str, words: list[str]
) -> None:
    with pytest.raises(PolicyConfigError) as error:
        resolve_continuity(of_method(small_config(), method), choice)
    for word in words:
        assert word in str(error.value)
