"""The parameters of the policy node: what they mean, and when which may change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dp_core.configuration import ConfigurationError
from dp_core.contract import Contract
from dp_policy.continuity import CONTINUITIES
from dp_policy.runtime.selection import RUNTIMES
from dp_ros.node_main import declare
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from dp_policy_node.loaded_engine import EngineOptions, check_checkpoint

#: Taken when the node is configured; to change them, clean it up first.
CONFIGURED = (
    "dry_run",
    "num_threads",
    "runtime",
    "continuity",
    "actions_per_chunk",
    "stream_timeout_s",
    "added_latency_s",
)
#: Taken at once, also while the policy drives.
LIVE = ("checkpoint", "seed", "task")


class PolicyParameters:
    """Declares the parameters and watches over their changes.

    Args:
        node: owns them.
        contract: a checkpoint must fit it.
        configured: says whether the node is configured.
        loading: the folder of a checkpoint that is being loaded, or nothing.
        on_change: called with the name of a live parameter once it has changed.
    """

    def __init__(
        self,
        node: Node,
        contract: Contract,
        configured: Callable[[], bool],
        loading: Callable[[], str],
        on_change: Callable[[str], None],
    ) -> None:
        self._node, self._contract = node, contract
        self._configured, self._loading, self._on_change = configured, loading, on_change
        self._restoring = False
        self.autostart = bool(
            declare(
                node, "autostart", True, "Configure and activate without being asked; false: by lifecycle services."
            )
        )
        for name, default, description, *limits in (
            ("checkpoint", "", "Folder of a trained policy (model.safetensors, checkpoint.json)."),
            ("task", "", "What is to be done, in words; shown in diagnostics, no policy reads it yet."),
            ("seed", 0, "Seed of the sampler's noise; setting it restarts the noise.", 0, 2**31 - 1),
            ("dry_run", False, "Publish chunks on policy/dry_run_chunk, where they move nothing, in any mode."),
            ("num_threads", 1, "Torch threads; 1 is steadiest on shared cores.", 1, 64),
            (
                "runtime",
                "auto",
                f"What runs the networks: {', '.join(RUNTIMES)}; auto is the fastest that agrees with reference.",
            ),
            (
                "continuity",
                "auto",
                f"How a chunk goes on from the one before: {', '.join(CONTINUITIES)}.",
            ),
            ("actions_per_chunk", 0, "Ta, actions executed of each chunk; 0: as the policy was trained.", 0, 256),
            ("stream_timeout_s", 10.0, "A stream silent this long after activation ends the node, s.", 0.5, 60),
            ("added_latency_s", 0.0, "Each chunk is held back for so long, s; for experiments.", 0.0, 2.0),
        ):
            low, high = limits or (None, None)
            declare(node, str(name), default, str(description), low=low, high=high, read_only=False)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._changed)

    def value(self, name: str) -> Any:
        """Present value."""
        return self._node.get_parameter(name).value

    def engine_options(self) -> EngineOptions:
        """How chunks are to be made."""
        return EngineOptions(
            num_threads=int(self.value("num_threads")),
            seed=int(self.value("seed")),
            runtime=str(self.value("runtime")),
            continuity=str(self.value("continuity")),
            steps=int(self.value("actions_per_chunk")),
        )

    def restore_checkpoint(self, folder: str) -> None:
        """Let the parameter show the checkpoint in use, after another was refused."""
        self._restoring = True
        try:
            self._node.set_parameters([Parameter("checkpoint", value=folder)])
        finally:
            self._restoring = False

    def _check(self, changes: list[Parameter]) -> SetParametersResult:
        if not self._configured() or self._restoring:
            return SetParametersResult(successful=True)
        for change in changes:
            problem = self._problem(change)
            if problem:
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

    def _problem(self, change: Parameter) -> str:
        """Why a parameter must not change so while the node is configured; empty when it may."""
        if change.name in CONFIGURED:
            live = ", ".join(LIVE)
            return f"{change.name} is taken when the node is configured: clean it up first; settable now: {live}"
        if change.name != "checkpoint":
            return ""
        if self._loading():
            return f"checkpoint {self._loading()} is still being loaded; try again"
        try:
            check_checkpoint(str(change.value), self._contract)
        except ConfigurationError as error:
            return str(error)
        return ""

    def _changed(self, changes: list[Parameter]) -> None:
        if self._configured() and not self._restoring:
            for change in changes:
                if change.name in LIVE:
                    self._on_change(change.name)
