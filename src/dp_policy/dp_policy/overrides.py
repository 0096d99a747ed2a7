"""Single values of a policy file changed from outside, as ``training.batch_size=128``."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from dp_policy.config import PolicyConfig
from dp_policy.config_error import PolicyConfigError


def override(config: PolicyConfig, assignments: Sequence[str]) -> PolicyConfig:
    """A copy with some values changed.

    Args:
        config: the policy as its file gives it.
        assignments: ``section.key=value``, the value as YAML (``0.1``, ``[64, 128]``, ``true``); later ones win.

    Raises:
        PolicyConfigError: an assignment has no ``=``, no such key exists, the value is not valid, or its section is
            not one of the method's.
    """
    if not assignments:
        return config
    mapping = config.to_dict()
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        *sections, key = dotted.strip().split(".")
        if not equals or not key:
            raise PolicyConfigError(f"{assignment!r} is not valid; expected section.key=value")
        place = mapping
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise PolicyConfigError(f"{dotted}: {section!r} is a value, not a section")
        try:
            place[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise PolicyConfigError(f"{assignment!r} is not valid; the value is not YAML") from None
        if isinstance(place[key], str):  # YAML 1.1 takes 1e-4 for text, because it has no dot
            place[key] = _number(place[key])
    changed = PolicyConfig.from_dict(mapping)
    used = changed.to_dict()
    for assignment in assignments:
        section = assignment.split("=")[0].strip().split(".")[0]
        if section not in used:
            valid = ", ".join(name for name, part in used.items() if isinstance(part, dict))
            raise PolicyConfigError(
                f"{assignment!r} would change nothing: method {changed.method!r} has no section {section!r}; "
                f"its sections: {valid}"
            )
    return changed


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
