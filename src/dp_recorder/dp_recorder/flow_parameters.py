"""The parameters of the operator flow: a plan, and what overrides it. All can be set while no episode is open."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dp_core.configuration import ConfigurationError
from dp_ros.node_main import declare
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from dp_recorder.operation import Operation
from dp_recorder.operator_flow import FlowSettings, Phase
from dp_recorder.plan_file import PlanProgress, load_plan, read_progress

_AS_PLANNED = -1.0
_SECONDS = (
    ("countdown_s", "Count-down before an episode of the operator, s; -1: the plan's, else none.", 60.0),
    ("reset_pause_s", "Pause after an episode of the operator, s; -1: the plan's, else none.", 3600.0),
    ("max_duration_s", "Longest episode, s; 0: no limit; -1: the plan's, else no limit.", 36000.0),
)


class FlowParameters:
    """Declares the parameters and keeps an operation to them."""

    def __init__(self, node: Node, directory: Path) -> None:
        """Declare them.

        Args:
            node: The recorder.
            directory: Folder of the episodes, by which a plan goes on where it was.

        Raises:
            PlanError: The plan is missing or wrong.
        """
        self._node = node
        self._directory = directory
        self._operation: Operation | None = None
        self._changed: Callable[[], None] = lambda: None
        self._values: dict[str, Any] = {}
        text = "Plan of recordings: path of a YAML file or a name in config/plans; empty: none."
        self._values["plan"] = str(declare(node, "plan", "", text, read_only=False))
        for name, text, high in _SECONDS:
            value = declare(node, name, _AS_PLANNED, text, low=_AS_PLANNED, high=high, read_only=False)
            self._values[name] = float(value)
        text = "The next episode begins by itself after the pause; also if the plan says so."
        self._values["auto_start"] = bool(declare(node, "auto_start", False, text, read_only=False))
        self._progress = self._load(self._values["plan"])
        node.add_on_set_parameters_callback(self._on_set)

    def govern(self, operation: Operation, changed: Callable[[], None]) -> None:
        """Apply the parameters to an operation, now and whenever they change; ``changed`` is called after that."""
        self._operation, self._changed = operation, changed
        operation.progress = self._progress
        operation.settings = self._settings(self._values, self._progress)

    def _load(self, name: str) -> PlanProgress | None:
        return read_progress(load_plan(name), self._directory) if name else None

    @staticmethod
    def _settings(values: dict[str, Any], progress: PlanProgress | None) -> FlowSettings:
        planned = progress.plan.settings if progress is not None else FlowSettings()
        chosen = {name: values[name] if values[name] >= 0.0 else getattr(planned, name) for name, _, _ in _SECONDS}
        return FlowSettings(**chosen, auto_start=values["auto_start"] or planned.auto_start)

    def _on_set(self, parameters: list[Parameter]) -> SetParametersResult:
        new = {parameter.name: parameter.value for parameter in parameters if parameter.name in self._values}
        operation = self._operation
        if not new or operation is None:
            return SetParametersResult(successful=True)
        if operation.state.phase not in (Phase.IDLE, Phase.RESET):
            return SetParametersResult(
                successful=False, reason=f"not while {operation.state.phase.value}; wait until the episode is closed"
            )
        try:
            # Setting the plan, even the same one, reads file and folder again.
            progress = self._load(str(new["plan"])) if "plan" in new else operation.progress
        except (ConfigurationError, OSError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        self._values.update(new)
        operation.progress = progress
        operation.settings = self._settings(self._values, progress)
        self._changed()
        return SetParametersResult(successful=True)
