"""A lifecycle node that outlives a wrong request."""

from __future__ import annotations

from typing import Any

from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.lifecycle import LifecycleNode


class ManagedNode(LifecycleNode):
    """rclpy's lifecycle node, except that a transition that the present state does not have is refused.

    rclpy 7.1 raises in the service's callback instead, which ends the process: anyone on the network could take the
    policy away by asking for ``cleanup`` while it is active.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        change, answer = self._service_change_state, self._service_change_state.callback

        def refuse_unknown(request: Any, response: Any) -> Any:
            try:
                return answer(request, response)
            except _rclpy.RCLError as error:
                self.get_logger().error(f"transition {request.transition.label or request.transition.id}: {error}")
                response.success = False
                return response

        change.callback = refuse_unknown
