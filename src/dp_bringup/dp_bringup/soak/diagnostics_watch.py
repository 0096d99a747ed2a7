"""What the nodes say of themselves on `/diagnostics` during a soak: control's counters, the policy's times."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray

from dp_bringup.session import CellSession
from dp_ros import qos

MODE, INFERENCE = "control: mode", "policy: inference"


@dataclass
class DiagnosticsWatch:
    """Numbers of the statuses, the first and the newest of each.

    Attributes:
        first: those of the first message, by status and key.
        newest: the same.
        highest: the largest that was seen, the same.
        warnings: how often each status was not OK, by `<status>: <message>`.
    """

    first: dict[str, dict[str, float]] = field(default_factory=dict)
    newest: dict[str, dict[str, float]] = field(default_factory=dict)
    highest: dict[str, dict[str, float]] = field(default_factory=dict)
    warnings: dict[str, int] = field(default_factory=dict)

    def listen(self, session: CellSession) -> None:
        """Subscribe within a session."""
        session.listen(DiagnosticArray, "/diagnostics", self.add, qos.EVENT)

    def add(self, message: Any) -> None:
        """Take a DiagnosticArray."""
        for status in message.status:
            numbers = {pair.key: number for pair in status.values if (number := _number(pair.value)) is not None}
            self.newest[status.name] = numbers
            self.first.setdefault(status.name, numbers)
            highest = self.highest.setdefault(status.name, {})
            for key, number in numbers.items():
                highest[key] = max(highest.get(key, number), number)
            if status.level != type(status).OK:
                text = f"{status.name}: {status.message}"
                self.warnings[text] = self.warnings.get(text, 0) + 1

    def counted(self, status: str, key: str) -> float:
        """How far a counter has gone up since its status was first heard; one that was not there then was zero."""
        return self.newest.get(status, {}).get(key, 0.0) - self.first.get(status, {}).get(key, 0.0)

    def worst(self, status: str, key: str) -> float | None:
        """The largest value of a figure; None when it was never told."""
        return self.highest.get(status, {}).get(key)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
