"""Error recovery of a Franka robot, in the three steps that franka_ros2 documents (read at v3.4.0).

1. the action ``action_server/error_recovery`` clears the error;
2. ``controller_manager/set_hardware_component_state`` activates the hardware component, which an error unconfigures;
3. ``controller_manager/switch_controller`` activates the controllers that were active before the error.

The last two need controller_manager_msgs (read in ros2_control jazzy, 4.46). Without them, and where the hardware
stays active, the first is all.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration
from dp_core.configuration import ConfigurationError
from rclpy.action import ActionClient
from rclpy.node import Node

from dp_control.optional_interfaces import interfaces

# In looks of the adapter, 0.05 s each. Recoveries of 16 s have been reported.
LONGEST_LOOKS = 600
REMEMBER_LOOKS = 40
ACTIVE_STATE_ID = 3  # lifecycle_msgs/State.PRIMARY_STATE_ACTIVE
SWITCH_TIMEOUT_S = 5

Steps = Generator[Any, Any, str]


class FrankaRecovery:
    """Runs the steps. ``step`` in the executor's thread; the rest in any."""

    def __init__(self, node: Node, prefix: str) -> None:
        self._node = node
        self._action = interfaces("franka_msgs.action", "robot.adapter franka").ErrorRecovery
        self._name = f"{prefix}action_server/error_recovery"
        self._client = ActionClient(node, self._action, self._name)
        self._manager = ControllerManager(node, prefix)
        self._requested = False
        self._steps: Steps | None = None
        self._future: Any = None
        self._looks = 0
        #: Why the last recovery failed, or empty.
        self.failure = ""

    @property
    def running(self) -> bool:
        """Whether a recovery is under way."""
        return self._requested or self._steps is not None

    def request(self) -> str:
        """Begin; returns why it cannot, or empty."""
        if not self._client.server_is_ready():
            return f"{self._name} is not there: is the robot's driver running?"
        self._requested = True
        return ""

    def step(self, moving: bool) -> None:
        """Go on when the future waited for is done. ``moving``: the robot is in order, remember what made it so."""
        self._looks += 1
        if self._requested:
            self._steps, self._future, self._looks = self._sequence(), None, 0
            self.failure = ""
            self._requested = False
        if self._steps is None:
            self._manager.remember(moving and self._looks % REMEMBER_LOOKS == 1)
            return
        try:
            if self._future is None:
                self._future = next(self._steps)
            elif self._future.done():
                self._future = self._steps.send(self._future.result())
            elif self._looks > LONGEST_LOOKS:
                self._steps, self.failure = None, "it took too long"
        except StopIteration as end:
            self._steps, self.failure = None, end.value

    def _sequence(self) -> Steps:
        handle = yield self._client.send_goal_async(self._action.Goal())
        if not handle.accepted:
            return "refused by the robot's driver"
        ended = yield handle.get_result_async()
        if ended.status != GoalStatus.STATUS_SUCCEEDED:
            return "the robot could not clear its error; its driver's log says why"
        return (yield from self._manager.reactivate())

    def close(self) -> None:
        """Destroy the clients."""
        self._client.destroy()
        self._manager.close()


class ControllerManager:
    """The services of ros2_control's controller manager that a recovery needs, where they can be had."""

    def __init__(self, node: Node, prefix: str) -> None:
        self._node = node
        self._clients: list[Any] = []
        self._active: list[str] = []
        self._listing: Any = None
        try:
            services = interfaces("controller_manager_msgs.srv", "error recovery")
        except ConfigurationError:
            return
        self._types = services
        kinds = {
            "list_hardware_components": services.ListHardwareComponents,
            "set_hardware_component_state": services.SetHardwareComponentState,
            "list_controllers": services.ListControllers,
            "switch_controller": services.SwitchController,
        }
        self._clients = [node.create_client(kind, f"{prefix}controller_manager/{name}") for name, kind in kinds.items()]

    def _ready(self) -> bool:
        return bool(self._clients) and all(client.service_is_ready() for client in self._clients)

    def remember(self, ask: bool) -> None:
        """Keep the names of the controllers that are active while the robot is in order."""
        if self._listing is not None and self._listing.done():
            listed = self._listing.result()
            self._listing = None
            # A list without a commanding controller was taken after an error that nobody has noticed yet.
            if any(c.state == "active" and c.claimed_interfaces for c in listed.controller):
                self._active = _active_names(listed)
        elif ask and self._ready():
            self._listing = self._clients[2].call_async(self._types.ListControllers.Request())

    def reactivate(self) -> Steps:
        """Activate inactive hardware components of the robot, then the remembered controllers."""
        self._listing = None
        if not self._ready():
            return ""
        list_hardware, set_hardware, list_controllers, switch = self._clients
        listed = yield list_hardware.call_async(self._types.ListHardwareComponents.Request())
        for component in listed.component:
            if "franka" not in component.plugin_name.lower() or component.state.id == ACTIVE_STATE_ID:
                continue
            request = self._types.SetHardwareComponentState.Request(name=component.name)
            request.target_state.id, request.target_state.label = ACTIVE_STATE_ID, "active"
            answer = yield set_hardware.call_async(request)
            if not answer.ok:
                return f"hardware component {component.name} does not become active"
        now_active = _active_names((yield list_controllers.call_async(self._types.ListControllers.Request())))
        missing = [name for name in self._active if name not in now_active]
        if missing:
            request = self._types.SwitchController.Request(activate_controllers=missing, activate_asap=True)
            request.strictness, request.timeout = request.STRICT, Duration(sec=SWITCH_TIMEOUT_S)
            answer = yield switch.call_async(request)
            if not answer.ok:
                return f"controllers {', '.join(missing)} do not become active: {answer.message}"
        return ""

    def close(self) -> None:
        """Destroy the clients."""
        for client in self._clients:
            self._node.destroy_client(client)


def _active_names(listed: Any) -> list[str]:
    return [controller.name for controller in listed.controller if controller.state == "active"]
