"""The shape of the action sequence for methods with one action for each observed frame."""

from __future__ import annotations

from dp_policy.config import PolicyConfig
from dp_policy.config_error import PolicyConfigError


def require_action_per_frame(config: PolicyConfig) -> None:
    """Check that predicted actions and observed frames belong to the same times, the newest one last.

    Raises:
        PolicyConfigError: they do not; the text names the values that would do.
    """
    history, action = config.observation.history, config.action
    if action.horizon != history or action.past != history - 1:
        raise PolicyConfigError(
            f"action.horizon = {action.horizon} with past = {action.past} is not valid for method = {config.method}, "
            f"which predicts one action for each of the observation.history = {history} frames; "
            f"valid: action.horizon = {history}, action.past = {history - 1}, action.steps = 1"
        )
