"""The Franka adapter over real DDS: a peer plays franka_ros2's broadcaster, services, action and controller manager."""

import sys
import time

import pytest
from dp_control.adapters import make_adapter
from dp_control.adapters.franka_state import FrankaState
from dp_core.configuration import ConfigurationError
from rclpy.action import ActionServer
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.qos import QoSProfile, QoSReliabilityPolicy

IDLE, MOVE, GUIDING, REFLEX, USER_STOPPED = 1, 2, 3, 4, 5
TORQUE, FORCE = (20.0,) * 7, (25.0,) * 6


class Robot:
    """Publishes its state at 500 Hz while its hardware is active; recovers when asked, as franka_ros2 documents."""

    def __init__(self, bench, reliable=True, prefix=""):
        from franka_msgs.action import ErrorRecovery
        from franka_msgs.msg import FrankaRobotState
        from franka_msgs.srv import SetForceTorqueCollisionBehavior

        self.mode, self.errors, self.last_errors = MOVE, (), ()
        self.broadcasting, self.recovers, self.recoveries, self.thresholds = True, True, 0, []
        self.after_recovery = MOVE
        self._turn, node = bench.turn, bench.robot.node
        reliability = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
        self._message = FrankaRobotState()
        self._publisher = node.create_publisher(
            FrankaRobotState,
            f"{prefix}franka_robot_state_broadcaster/robot_state",
            QoSProfile(depth=1, reliability=reliability),
        )
        group = ReentrantCallbackGroup()
        node.create_timer(0.002, self._publish)
        node.create_service(
            SetForceTorqueCollisionBehavior,
            f"{prefix}service_server/set_force_torque_collision_behavior",
            self._set_thresholds,
            callback_group=group,
        )
        self._action_type = ErrorRecovery
        self._recovery = ActionServer(
            node, ErrorRecovery, f"{prefix}action_server/error_recovery", self._recover, callback_group=group
        )

    def _publish(self):
        if not self.broadcasting:
            return
        message = self._message
        message.robot_mode = self.mode
        for flags, names in ((message.current_errors, self.errors), (message.last_motion_errors, self.last_errors)):
            for name in flags.get_fields_and_field_types():
                setattr(flags, name, name in names)
        self._publisher.publish(message)

    def _set_thresholds(self, request, response):
        if self.mode != IDLE:
            response.success, response.error = False, "command not possible in the current mode"
            return response
        self.thresholds.append(request)
        response.success = True
        return response

    async def _recover(self, handle):
        self.recoveries += 1
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            await self._turn()
        if self.recovers:
            self.mode, self.errors = self.after_recovery, ()
            handle.succeed()
        else:
            handle.abort()
        return self._action_type.Result()


class Manager:
    """ros2_control's controller manager after an FCI error: hardware unconfigured, controllers inactive."""

    def __init__(self, bench, robot):
        from controller_manager_msgs import srv
        from controller_manager_msgs.msg import ControllerState, HardwareComponentState

        self.robot, self.order = robot, []
        self.hardware = HardwareComponentState(
            name="FrankaHardwareInterface", plugin_name="franka_hardware/FrankaHardwareInterface"
        )
        self.hardware.state.id, self.hardware.state.label = 3, "active"
        self.controllers = {
            "franka_robot_state_broadcaster": ControllerState(state="active"),
            "cartesian_impedance_controller": ControllerState(state="active", claimed_interfaces=["fr3_joint1/effort"]),
            "unused_controller": ControllerState(state="inactive"),
        }
        for name, controller in self.controllers.items():
            controller.name = name
        group = ReentrantCallbackGroup()
        for name, kind, callback in (
            ("list_hardware_components", srv.ListHardwareComponents, self._list_hardware),
            ("set_hardware_component_state", srv.SetHardwareComponentState, self._set_hardware),
            ("list_controllers", srv.ListControllers, self._list),
            ("switch_controller", srv.SwitchController, self._switch),
        ):
            bench.robot.node.create_service(kind, f"controller_manager/{name}", callback, callback_group=group)

    def fail(self):
        """What an FCI error does."""
        self.hardware.state.id = 1
        for controller in self.controllers.values():
            controller.state, controller.claimed_interfaces = "inactive", []
        self.robot.mode, self.robot.broadcasting = REFLEX, False

    def _list_hardware(self, _, response):
        response.component = [self.hardware]
        return response

    def _set_hardware(self, request, response):
        self.order.append(("hardware", request.name, request.target_state.label, self.robot.recoveries))
        self.hardware.state.id = request.target_state.id
        response.ok = True
        return response

    def _list(self, _, response):
        response.controller = list(self.controllers.values())
        return response

    def _switch(self, request, response):
        self.order.append(("controllers", *sorted(request.activate_controllers)))
        response.ok = self.hardware.state.id == 3
        for name in request.activate_controllers:
            self.controllers[name].state = "active"
        self.robot.broadcasting = True
        return response


@pytest.fixture
def problem(bench, make_contract, robot_interfaces):
    """Makes an adapter; gives a function that tells its problem, and has the adapter at ``.adapter``."""

    def make(**robot):
        adapter = bench.make(make_adapter, make_contract(adapter="franka", **robot))

        def ask():
            return adapter.problem(bench.control.now_ns())

        ask.adapter = adapter
        return ask

    return make


def test_no_state_yet_is_a_problem_and_a_moving_robot_is_none(bench, problem):
    ask = problem()
    assert "/franka_robot_state_broadcaster/robot_state yet" in ask()
    Robot(bench)
    bench.cycle(lambda: ask() == "", "the robot")


@pytest.mark.parametrize("reliable", [True, False])
def test_the_state_is_heard_whatever_reliability_is_offered(reliable, bench, problem):
    ask = problem()
    Robot(bench, reliable)
    bench.cycle(lambda: ask() == "", "the robot")


def test_every_mode_but_move_is_a_problem_that_says_what_to_do(bench, problem):
    ask, robot = problem(), Robot(bench)
    bench.cycle(lambda: ask() == "", "the robot")
    for mode, text in {
        0: "Desk",
        IDLE: "no controller is active",
        GUIDING: "guided by hand",
        REFLEX: "reflex",
        USER_STOPPED: "user stop",
        6: "recovering",
        9: "unknown mode 9",
    }.items():
        robot.mode = mode
        took_s = bench.cycle(lambda text=text: text in ask(), text)
        assert took_s < 0.5
    robot.mode, robot.errors = MOVE, ("joint_velocity_violation",)
    bench.cycle(lambda: ask() == "the robot reports errors: joint_velocity_violation", "the error's name")


def test_a_reflex_is_told_with_its_reason_recovered_on_request_and_then_clear(bench, problem):
    ask, robot = problem(), Robot(bench)
    bench.cycle(lambda: ask() == "", "the robot")
    robot.last_errors, robot.mode = ("cartesian_reflex",), REFLEX
    bench.cycle(lambda: "reflex): cartesian_reflex" in ask(), "the reflex")
    bench.run_for(0.3, lambda _: None)
    assert robot.recoveries == 0, "recovery is never begun unasked"
    bench.cycle(lambda: ask.adapter.recover() == "", "the recovery server")
    assert "being recovered" in ask()
    assert ask.adapter.recover() == "", "asking again while it runs is no second recovery"
    bench.cycle(lambda: ask() == "", "the recovery")
    bench.run_for(0.3, lambda _: None)
    assert robot.recoveries == 1


def test_a_recovery_that_fails_is_told_and_can_be_asked_for_again(bench, problem):
    ask, robot = problem(), Robot(bench)
    robot.mode, robot.recovers = REFLEX, False
    bench.cycle(lambda: "reflex" in ask(), "the reflex")
    bench.cycle(lambda: ask.adapter.recover() == "", "the recovery server")
    bench.cycle(lambda: "its recovery failed" in ask(), "the failure")
    bench.run_for(0.5, lambda _: None)
    assert robot.recoveries == 1, "a failed recovery is not repeated unasked"
    robot.recovers = True
    assert ask.adapter.recover() == ""
    bench.cycle(lambda: ask() == "", "the recovery")


def test_recovery_is_not_sent_to_a_robot_in_order_nor_to_one_that_a_person_holds(bench, problem):
    ask, robot = problem(), Robot(bench)
    bench.cycle(lambda: ask() == "", "the robot")
    assert ask.adapter.recover() == ""
    for mode, text in {USER_STOPPED: "user stop", GUIDING: "guided", IDLE: "no controller"}.items():
        robot.mode = mode
        bench.cycle(lambda text=text: text in ask(), text)
        assert text in ask.adapter.recover()
    bench.run_for(0.3, lambda _: None)
    assert robot.recoveries == 0


def test_recovery_without_its_server_says_so(bench, problem):
    ask = problem()
    assert "action_server/error_recovery is not there" in ask.adapter.recover()


def test_silence_is_a_problem_and_recovery_brings_hardware_and_controllers_back_in_order(bench, problem):
    ask, robot = problem(), Robot(bench)
    manager = Manager(bench, robot)
    bench.cycle(lambda: ask() == "", "the robot")
    bench.cycle(lambda: ask.adapter._recovery._manager._active, "the controllers to be remembered")
    manager.fail()
    took_s = bench.cycle(lambda: "no robot state" in ask() and "resume" in ask(), "the silence to be noticed")
    assert took_s < 1.0
    assert ask.adapter.recover() == ""
    bench.cycle(lambda: ask() == "", "the recovery")
    assert manager.order == [
        ("hardware", "FrankaHardwareInterface", "active", 1),
        ("controllers", "cartesian_impedance_controller", "franka_robot_state_broadcaster"),
    ]


def test_collision_thresholds_are_set_while_the_robot_is_idle_and_before_anything_moves(bench, problem):
    ask = problem(collision_torque_Nm=TORQUE, collision_force_N=FORCE)
    robot = Robot(bench)
    bench.cycle(lambda: "takes them when no controller is active" in ask(), "the refusal to drive without them")
    robot.mode = IDLE
    bench.cycle(lambda: robot.thresholds, "the thresholds")
    request = robot.thresholds[0]
    assert tuple(request.upper_torque_thresholds_nominal) == TORQUE == tuple(request.lower_torque_thresholds_nominal)
    assert tuple(request.upper_force_thresholds_nominal) == FORCE == tuple(request.lower_force_thresholds_nominal)
    robot.mode = MOVE
    bench.cycle(lambda: ask() == "", "the robot to be driven")
    bench.run_for(1.5, lambda _: None)
    assert len(robot.thresholds) == 1


def test_half_of_the_thresholds_is_a_configuration_error(bench, problem):
    with pytest.raises(ConfigurationError, match="give both or none"):
        problem(collision_torque_Nm=TORQUE)


def test_a_second_arm_has_its_own_namespace(bench, problem):
    ask, robot = problem(namespace="left"), Robot(bench, prefix="left/")
    bench.cycle(lambda: ask() == "", "the robot")
    robot.mode = REFLEX
    bench.cycle(lambda: "reflex" in ask(), "the reflex")
    bench.cycle(lambda: ask.adapter.recover() == "", "the recovery server")
    bench.cycle(lambda: ask() == "", "the recovery")


def test_a_missing_package_is_one_clear_line(bench, make_contract, monkeypatch):
    monkeypatch.setitem(sys.modules, "franka_msgs.msg", None)
    with pytest.raises(ConfigurationError, match="adapter franka needs franka_msgs") as caught:
        make_adapter(bench.control.node, make_contract(adapter="franka"))
    assert "\n" not in str(caught.value) and "stack.repos" in str(caught.value)


def test_no_adapter_has_no_problem(bench, make_contract):
    adapter = bench.make(make_adapter, make_contract())
    assert adapter.problem(0) == "" and adapter.recover() == ""


def test_only_a_reflex_is_explained_by_the_last_motions_errors():
    assert FrankaState(0, MOVE, (), ("joint_reflex",)).problem == ""
    assert "joint_reflex" not in FrankaState(0, IDLE, (), ("joint_reflex",)).problem
