"""Inference node: the last To observations in, receding-horizon chunks of timed actions out.

A managed node: configuring loads the policy and warms its engine up, activating lets it infer, as long as control is
in mode POLICY (``control/command_state``); an activation starts with empty buffers. It observes cameras, pose and
gripper only. Callbacks check and store; :mod:`dp_policy_node.inference_worker` encodes, plans and publishes on a
thread of its own what :mod:`dp_policy_node.inference_core` decides.
"""

from __future__ import annotations

import sys
import traceback

from dp_core.configuration import ConfigurationError
from dp_ros.messages import stamp_to_ns
from dp_ros.node_main import declare_contract, run_node
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn

from dp_msgs.msg import CommandState
from dp_policy_node.inference_diagnostics import InferenceDiagnostics
from dp_policy_node.loaded_engine import PolicyLoader, ReadyPolicy, prepare_policy
from dp_policy_node.managed_node import ManagedNode
from dp_policy_node.policy_parameters import PolicyParameters
from dp_policy_node.running_policy import RunningPolicy
from dp_ros import qos

# How often the outcome of loading another checkpoint is looked for, s.
SWAP_POLL_S = 0.1


class PolicyNode(ManagedNode):
    """ROS shell around the inference engine; see the module."""

    def __init__(self) -> None:
        super().__init__("policy")
        self.failure = ""
        self.problem = ""
        self._contract = declare_contract(self)
        self._running: RunningPolicy | None = None
        self._settings = PolicyParameters(
            self, self._contract, lambda: self._running is not None, self._loading_folder, self._on_setting
        )
        self._loader: PolicyLoader | None = None
        self._swap_problem = ""
        self._enabled = False
        self._driving = False
        self._first_chunk_id = 0
        self._report = InferenceDiagnostics(self, self._contract)
        self.create_subscription(CommandState, self._contract.streams["command"].topic, self._on_command, qos.SENSOR_IN)
        self.create_timer(1.0, self._diagnose)
        self._swap_timer = self.create_timer(
            SWAP_POLL_S, self._poll_swap, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._swap_timer.cancel()

    def start(self) -> None:
        """Configure and activate, for a node that nobody manages.

        Raises:
            ConfigurationError: the policy cannot be loaded, and why.
        """
        if self.trigger_configure() != TransitionCallbackReturn.SUCCESS:
            raise ConfigurationError(self.problem)
        self.trigger_activate()

    @property
    def autostart(self) -> bool:
        """Whether the node is to start without being asked."""
        return self._settings.autostart

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the policy and warm it up; what is wrong leaves the node unconfigured, with one line.

        It takes seconds, in which the executor serves nothing else: nobody relies on a node that is not configured.
        """
        folder = str(self._settings.value("checkpoint"))
        if self._loader is not None:
            # Left from before a cleanup. It would set the number of torch threads of its time beside the new policy.
            self._loader.join()
            self._loader = None
        try:
            policy = prepare_policy(folder, self._contract, self._settings.engine_options())
            self._running = self._run(policy)
        except ConfigurationError as error:
            self.problem = str(error)
            if not self.autostart:  # the process that starts itself ends with this line
                self.get_logger().error(f"not configured: {self.problem}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy would swallow it
            self.problem = f"not configured: {error!r}"
            self.get_logger().error(self.problem)
            traceback.print_exc()
            return TransitionCallbackReturn.FAILURE
        self.problem = ""
        self.get_logger().info(f"{_described(policy)} ready{', DRY RUN' if self._running.dry_run else ''}")
        return TransitionCallbackReturn.SUCCESS

    def _run(self, policy: ReadyPolicy) -> RunningPolicy:
        return RunningPolicy(
            self,
            self._contract,
            policy,
            bool(self._settings.value("dry_run")),
            float(self._settings.value("stream_timeout_s")),
            self._first_chunk_id,
            float(self._settings.value("added_latency_s")),
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Infer from now on, while control is in mode POLICY."""
        self._enabled = True
        self._apply(int(self.get_clock().now().nanoseconds))
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Infer no more; a chunk that is being made is not published."""
        self._enabled = False
        self._apply(0)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of the policy."""
        self._release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Let go of everything, from any state."""
        self._release()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition went wrong: back to unconfigured, with nothing left running."""
        self._release()
        return super().on_error(state)

    def _release(self) -> None:
        self._enabled = False
        self._swap_timer.cancel()
        if self._running is not None:
            self._running.close()
            self._first_chunk_id = self._running.worker.next_chunk_id
            self._running = None

    def close(self) -> None:
        """Stop the worker."""
        self._release()

    # Control

    def _on_command(self, message: CommandState) -> None:
        driving = message.mode == CommandState.POLICY
        if driving != self._driving:
            self._driving = driving
            self._apply(stamp_to_ns(message.header.stamp))

    def _apply(self, since_ns: int) -> None:
        """Begin or end an activation where the present state asks for it."""
        running = self._running
        if running is None:
            return
        wanted = self._enabled and (self._driving or running.dry_run)
        if wanted != running.active:
            running.set_active(wanted, since_ns)
            self.get_logger().info("active" if wanted else "inactive")

    # Checkpoints

    def _loading_folder(self) -> str:
        return "" if self._loader is None else self._loader.folder

    def _on_setting(self, name: str) -> None:
        """A live parameter has changed."""
        running = self._running
        if running is None:
            return
        if name == "seed":
            running.worker.reseed(int(self._settings.value("seed")))
        elif name == "checkpoint":
            folder, options = str(self._settings.value("checkpoint")), self._settings.engine_options()
            self._swap_problem = ""
            self._loader = PolicyLoader(lambda: prepare_policy(folder, self._contract, options), folder)
            self._swap_timer.reset()
            self.get_logger().info(f"loading checkpoint {folder}")

    def _poll_swap(self) -> None:
        """Take over a checkpoint that has been loaded, or say why it was refused."""
        loader, running = self._loader, self._running
        if loader is not None and not loader.done:
            return
        self._swap_timer.cancel()
        self._loader = None
        if loader is None or running is None:
            return
        if loader.ready is None:
            self._swap_problem = f"checkpoint {loader.folder} refused: {loader.problem}"
            self.get_logger().error(f"{self._swap_problem}; {running.folder} goes on")
            self._settings.restore_checkpoint(running.folder)
            return
        running.swap(loader.ready)
        self.get_logger().info(f"{_described(loader.ready)} takes over")

    # Diagnostics

    def _diagnose(self) -> None:
        running = self._running
        if running is None:
            self._report.publish_unconfigured("unconfigured", self.problem)
            return
        problem = running.problem
        if problem:
            self.get_logger().error(f"{problem}: no plans")
        notes = {
            "task": str(self._settings.value("task")),
            "dry_run": str(running.dry_run),
            "loading": self._loading_folder(),
            "swap_problem": self._swap_problem,
        }
        self._report.publish(running.worker, running.ledgers, running.streams, self._headline, notes)

    def _headline(self, active: bool) -> str:
        state = "active" if active else "waits for mode POLICY" if self._enabled else "inactive"
        return f"DRY RUN, {state}" if self._running is not None and self._running.dry_run else state


def _described(policy: ReadyPolicy) -> str:
    milliseconds = 1e3 * policy.engine.latency_s
    name = policy.loaded.config.name
    return f"policy {policy.loaded.policy_id}: {name}, inference {milliseconds:.1f} ms, {policy.engine.description}"


def build_node() -> PolicyNode:
    """The node, started unless it is to be managed.

    Raises:
        ConfigurationError: it starts itself and cannot.
    """
    node = PolicyNode()
    if not node.autostart:
        return node
    try:
        node.start()
    except BaseException:
        node.close()
        node.destroy_node()
        raise
    return node


def main() -> None:
    """Entry point of the executable ``policy_node``."""
    sys.exit(run_node(build_node))


if __name__ == "__main__":
    main()
