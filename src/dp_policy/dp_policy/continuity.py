"""How a new chunk is made to agree with the one in execution: the choices, and which a policy can take."""

from __future__ import annotations

from dp_core.configuration import ConfigurationError
from dp_core.configuration import require_choice as check_choice
from torch import Tensor

from dp_policy.config import PolicyConfig
from dp_policy.config_error import PolicyConfigError
from dp_policy.heads.continuation import Continuation

#: ``prefix`` holds the actions that are executed meanwhile, for policies trained for it (``action.prefix``).
#: ``guided`` pulls chunks towards the plan while they are drawn, for policies not trained for it.
#: ``warm_start`` starts from the plan, noised. ``coherent`` takes of ``candidates`` chunks the one nearest to the plan.
#: ``none`` looks at the observation only. All but ``none`` take the nearest of several ``candidates``.
CONTINUITIES = ("auto", "prefix", "guided", "warm_start", "coherent", "none")
#: Methods that go through noisy sequences of falling noise.
NOISY_METHODS = ("diffusion", "flow")
#: Share of the steps that ``warm_start`` leaves out where the policy file leaves it open (``warm_start: 0``).
WARM_SHARE = 0.5


def resolve_continuity(config: PolicyConfig, choice: str) -> str:
    """What a choice means for a policy: ``auto`` becomes the best that it was trained for, others stay.

    Raises:
        PolicyConfigError: the choice is not known, or not possible with this policy; the text says why and names those
            that are.
    """
    try:
        check_choice("continuity", choice, CONTINUITIES)
    except ConfigurationError as error:
        raise PolicyConfigError(str(error)) from None
    if choice == "auto":
        if config.action.prefix:
            return "prefix"
        return "warm_start" if warm_share(config) else "coherent"
    obstacle = _obstacle(config, choice)
    if obstacle:
        possible = [other for other in CONTINUITIES if not _obstacle(config, other)]
        raise PolicyConfigError(
            f"continuity = {choice} is not valid for policy {config.name!r}: {obstacle}; valid: {', '.join(possible)}"
        )
    return choice


def warm_share(config: PolicyConfig) -> float:
    """The configured share of left-out steps; 0 for methods without a warm start."""
    return getattr(config, config.method).warm_start if config.method in NOISY_METHODS else 0.0


def continuation(config: PolicyConfig, choice: str, plan: Tensor, given: int) -> Continuation:
    """What a head is to do with a plan.

    Args:
        config: of the policy.
        choice: a resolved one but ``none``.
        plan: (B, L, A) float32, normalised, L at least 1.
        given: its leading actions that the chunk begins with.
    """
    if choice == "prefix":
        return Continuation(plan, given=given)
    if choice == "guided":
        return Continuation(plan, frozen=given, guidance=getattr(config, config.method).guidance)
    return Continuation(plan, warm_share=(warm_share(config) or WARM_SHARE) if choice == "warm_start" else 0.0)


def _obstacle(config: PolicyConfig, choice: str) -> str:
    """Why a policy cannot do it; empty if it can."""
    if choice == "prefix" and not config.action.prefix:
        return "it was not trained to hold given actions (action.prefix = 0)"
    if choice in ("guided", "warm_start") and config.method not in NOISY_METHODS:
        return f"method {config.method} does not go step by step from noise; only {' and '.join(NOISY_METHODS)} do"
    return ""
