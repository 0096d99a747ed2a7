"""What a check of the machine found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

OK, WARN, MISSING = "ok", "warn", "missing"


@dataclass(frozen=True)
class Finding:
    """Result of a check. `cost`: what is lost while it is not ok. `fix`: what to do."""

    name: str
    state: str
    found: str
    cost: str = ""
    fix: str = ""

    def row(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
