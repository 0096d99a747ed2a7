"""The cell with somebody in it: asks for modes, drives the arm to and fro, and goes on after a fault."""

import time

import numpy as np
from dp_core.poses import quat_from_rotvec, quat_multiply
from faulty_cell import FaultyCell
from std_srvs.srv import Trigger

from dp_msgs.msg import CommandState
from dp_msgs.srv import SetMode


class DrivenCell(FaultyCell):
    """See the module."""

    def __init__(self, *arguments, **choices):
        super().__init__(*arguments, **choices)
        self._modes = self.node.create_client(SetMode, "control/set_mode")
        self._triggers = {name: self.node.create_client(Trigger, f"control/{name}") for name in ("stop", "resume")}
        self._asked = 0  # states there were when a mode was last asked for

    def set_mode(self, mode, timeout_s=20.0):
        """Ask for a mode; the answer."""
        assert self._modes.wait_for_service(20.0)
        return self._ask(self._modes, SetMode.Request(mode=mode), timeout_s)

    def trigger(self, name, timeout_s=20.0):
        """Call control/stop or control/resume; the answer."""
        client = self._triggers[name]
        assert client.wait_for_service(20.0)
        return self._ask(client, Trigger.Request(), timeout_s)

    def _ask(self, client, request, timeout_s):
        future, heard = client.call_async(request), len(self.states)
        try:
            self.wait(future.done, f"an answer of {client.srv_name}", timeout_s)
        except AssertionError as error:
            alive, nodes = [thread.is_alive() for thread in self._threads], self.node.get_node_names()
            heard = len(self.states) - heard
            raise AssertionError(f"{error}; {heard} states meanwhile, threads alive {alive}, nodes {nodes}") from None
        return future.result()

    def begin_teleop(self, device="twist"):
        """Mode TELEOP, the operator moves the arm to and fro (0.2 m/s, 0.5 rad/s at the peaks)."""
        self.put_at_start()
        self.drive(device)

    def drive(self, device="twist"):
        """The operator lets go once, as control asks, then moves the arm: by a twist, or by the device's axes."""
        size = {"twist": [0.1, 0.2, 0.0, 0.0, 0.0, 0.5], "axes": [0.4, 0.8, 0.0, 0.0, 0.0, 0.5]}[device]

        def lost():
            return device == "axes" and not self.devices[-1].engaged

        def begin():
            setattr(self, device, lambda t: np.zeros(6))
            if device == "axes":
                self.grasp()
            self.ask_mode(CommandState.TELEOP)
            self.wait_in_mode(CommandState.TELEOP, lambda: self.states[-1].input_alive or lost(), "an input")
            if self.mode != CommandState.TELEOP or lost():
                return False
            self.pause(0.05)
            began = 1e-9 * self.now_ns()
            setattr(self, device, lambda t: np.array(size) * np.cos(2.0 * (t - began)))
            self.wait_in_mode(CommandState.TELEOP, lambda: self.speed() > 0.1 or lost(), "motion")
            return self.mode == CommandState.TELEOP and not lost()

        self.try_hard(begin)

    def grasp(self):
        """The hand lets the clutch go and holds it: a teleop node that was late for a moment asks for that."""
        self.held = False
        self.devices.clear()
        self.wait(lambda: any(d.connected and not d.buttons[1] for d in list(self.devices)), "the open clutch")
        self.held = True
        self.wait(lambda: self.devices[-1].engaged, "the held clutch")

    def begin_policy(self):
        """Mode POLICY with a plan that swings by 8 cm and 0.2 rad."""
        self.put_at_start()
        self.twist = None
        self.pause(1.2 * self.contract.control.input_max_age_s)  # a twist as fresh as this would take over
        self.swing()

    def swing(self):
        """A policy plans and drives."""

        def begin():
            self.plan = None
            self.ask_mode(CommandState.POLICY)
            self.plan = self._swinging_plan()
            return self.wait_in_mode(
                CommandState.POLICY, lambda: self.speed() > 0.1 and self.states[-1].input_alive, "a moving plan"
            )

        self.try_hard(begin)

    def _swinging_plan(self):
        began, home = 1e-9 * self.now_ns(), self.pose.copy()

        def plan(t):
            s = np.sin(2.5 * (t - began))
            pose = home.copy()
            pose[1] += 0.08 * s
            pose[3:] = quat_multiply(quat_from_rotvec([0.0, 0.0, 0.2 * s]), home[3:])
            return pose

        return plan

    def try_hard(self, begin):
        """Begin again when a busy machine kept this process from playing the robot in time, which is a true fault."""
        for _ in range(5):
            if begin():
                return
        raise AssertionError(f"five times in vain: {self.states[-1].text}")

    def wait_in_mode(self, mode, ready, what, timeout_s=20.0):
        """Wait for a condition in the mode last asked for; False when control leaves the mode by itself first."""
        # It may have been left before anybody looked: any state since the request will do.
        self.wait(lambda: any(s.mode == mode for s in self.states[self._asked :]), "the mode's first state")
        self.wait(lambda: ready() or self.mode != mode, what, timeout_s)
        return self.mode == mode

    def stop(self):
        """STOPPED, and everything that was under way has arrived."""
        assert self.set_mode(CommandState.STOPPED).success
        self.wait(lambda: self.mode == CommandState.STOPPED, "STOPPED")
        self.pause(0.05)

    def ask_mode(self, mode):
        """Ask for a mode, by way of resuming where there is a fault, until it is granted."""
        began, self._asked = time.monotonic(), len(self.states)
        while not (answer := self._ask_mode_once(mode)).success:
            assert time.monotonic() - began < 40.0, answer.message

    def _ask_mode_once(self, mode):
        resumed = self.trigger("resume") if self.mode == CommandState.FAULT else None
        return resumed if resumed is not None and not resumed.success else self.set_mode(mode)

    def ask_resume(self):
        """Ask to resume; again where this process was late with the robot's state at that moment."""
        for _ in range(4):
            self.late_s = 0.0
            answer = self.trigger("resume")
            if answer.success or self.late_s < 0.05:
                break
        assert answer.success, answer.message

    def resume(self, device="twist"):
        """The cause is gone and a person resumes, then drives on; says so, with the time it took."""
        self.spoil.clear()
        began = time.monotonic()
        self.ask_resume()
        self.drive(device)
        return f"`control/resume`, then TELEOP: moves after {time.monotonic() - began:.1f} s"
