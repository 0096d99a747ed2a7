"""Errors and checks of policy files."""

from __future__ import annotations

from dp_core.configuration import ConfigurationError, require_range


class PolicyConfigError(ConfigurationError):
    """A policy file or one of its keys is missing, unknown or not valid."""


def check_range(name: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raise ConfigurationError unless ``low <= value <= high``."""
    require_range(name, value, low, high)
