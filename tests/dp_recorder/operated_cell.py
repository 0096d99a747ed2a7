"""The cell of cell_publisher with an operator in it, run as a process of its own by test_operator_node.

Asks the recorder for commands by service and by message, and prints as JSON what it was answered and what it saw.
Usage: operated_cell.py SCENARIO
"""

import json
import sys
import time
from pathlib import Path

import rclpy
from cell_publisher import START_NS, Cell  # in the same folder
from dp_ros.messages import ns_to_stamp
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters

from dp_msgs.msg import EpisodeState, OperatorCommand
from dp_msgs.srv import LabelEpisode, OperatorRequest, StartEpisode, StopEpisode

STATES = {
    getattr(EpisodeState, name): name for name in ("IDLE", "RECORDING", "CLOSING", "FAILED", "COUNTDOWN", "RESET")
}


class OperatedCell(Cell):
    def __init__(self) -> None:
        super().__init__()
        self.gestures = self.create_publisher(OperatorCommand, "recorder/operator_command", 10)

    def wait_for_recorder(self) -> None:
        """Publish until the recorder sees every stream at its rate."""
        deadline = time.monotonic() + 60.0
        while not (self.episode_states and self.gestures.get_subscription_count()) or any(
            stream.required and stream.rate_hz < 0.8 * stream.expected_rate_hz for stream in self.state.streams
        ):
            if time.monotonic() > deadline:
                raise SystemExit("the recorder did not see every stream at its rate")
            self.run_ticks(20)
        self.run_ticks(160)  # the gate's window, so that a start need not wait
        deadline = time.monotonic() + 30.0
        while self.episode_states and self.state.warnings and time.monotonic() < deadline:
            self.run_ticks(5)  # what was said last may be half a second old

    @property
    def state(self) -> EpisodeState:
        return self.episode_states[-1]

    @property
    def now(self) -> str:
        return STATES[self.state.state]

    def ask(self, command: str) -> list:
        answer = self.call(OperatorRequest, "recorder/operator", command=command)
        return [answer.success, answer.message]

    def until(self, *names: str, timeout_s: float = 60.0) -> dict:
        """Go on until the recorder is in one of these states; what it says then."""
        deadline = time.monotonic() + timeout_s
        while not self.episode_states or self.now not in names:
            if time.monotonic() > deadline:
                raise SystemExit(f"waited for {names} in vain: {self.now}, {self.state.text}")
            self.run_ticks(5)
        return self.said()

    def said(self) -> dict:
        s = self.state
        return {
            "state": self.now, "id": s.episode_id, "path": s.path, "prompt": s.prompt, "number": s.plan_number,
            "length": s.plan_length, "outcome": s.outcome, "verdict": s.verdict, "text": s.text,
            "warnings": list(s.warnings), "countdown_s": s.countdown_s, "kept": s.episodes_recorded,
            "free": s.free_bytes, "rates": {t.topic: round(t.rate_hz, 1) for t in s.streams},
        }  # fmt: skip

    def warned(self, word: str) -> list:
        """Go on until a warning has this word in it; the warnings then."""
        deadline = time.monotonic() + 60.0
        while not any(word in text for text in self.state.warnings):
            if time.monotonic() > deadline:
                raise SystemExit(f"no warning of {word}: {self.state.warnings}")
            self.run_ticks(5)
        return list(self.state.warnings)

    def gesture(self, command: str, stamp_ns: int) -> None:
        message = OperatorCommand(command=command)
        message.header.stamp = ns_to_stamp(stamp_ns)
        self.gestures.publish(message)

    @property
    def now_ns(self) -> int:
        return START_NS + self.tick * 10_000_000


def planned(cell: OperatedCell) -> dict:
    """A plan with count-down and pause: by service, by message, redo, discard afterwards."""
    cell.wait_for_recorder()
    seen = {"ready": cell.said(), "wrong": cell.ask("success"), "unknown": cell.ask("jump")}
    seen["start"] = cell.ask("start")
    seen["counting"] = cell.until("COUNTDOWN")
    seen["recording"] = cell.until("RECORDING")
    cell.run_ticks(120)
    seen["success"] = cell.ask("success")
    seen["reset"] = cell.until("RESET")

    # By message, as the buttons of the SpaceMouse send it: twice, as a bouncing button would.
    stamp_ns = cell.now_ns
    cell.gesture("start", stamp_ns)
    cell.gesture("start", stamp_ns)
    seen["by_message"] = cell.until("RECORDING")
    cell.run_ticks(60)
    cell.gesture("redo", cell.now_ns)
    seen["after_redo"] = cell.until("RESET", "IDLE")
    seen["pause"] = cell.ask("pause")
    cell.run_ticks(150)
    seen["held"] = cell.said()
    seen["go_on"] = cell.ask("go_on")
    seen["idle"] = cell.until("IDLE")

    seen["again"] = cell.ask("start")
    cell.until("RECORDING")
    cell.run_ticks(60)
    seen["failure"] = cell.ask("failure")
    cell.until("RESET")
    seen["discard"] = cell.ask("discard")
    cell.run_ticks(10)
    cell.wait_until_all_has_come()
    seen["discarded"] = cell.said()
    cell.run_ticks(20)
    seen["cancel"] = [cell.ask("start"), cell.until("COUNTDOWN")["state"], cell.ask("discard")]
    cell.until("IDLE")
    return seen


def resumed(cell: OperatedCell) -> dict:
    """What a recorder says that was started again; then a service start in the middle of the plan."""
    cell.wait_for_recorder()
    seen = {"ready": cell.said()}
    seen["moved"] = [cell.ask("previous"), cell.ask("next"), cell.ask("next")]
    # An older episode is put aside and taken back by its name: the plan knows.
    seen["labelled"] = []
    for outcome in (StopEpisode.Request.DISCARD, StopEpisode.Request.SUCCESS):
        cell.call(LabelEpisode, "recorder/label_episode", episode_id="episode_0001_place", outcome=outcome)
        cell.ask("previous")
        seen["labelled"].append(cell.ask("previous")[1])
    service = cell.call(StartEpisode, "recorder/start_episode", task="other")
    seen["service"] = [service.success, service.message]
    seen["refused_plan"] = set_plan(cell, "nowhere")
    cell.run_ticks(30)
    seen["stop"] = cell.ask("stop")
    cell.until("IDLE")
    seen["no_plan"] = set_plan(cell, "")
    cell.run_ticks(10)
    cell.wait_until_all_has_come()
    seen["after"] = cell.said()
    return seen


class RealCell(OperatedCell):
    """Publishes in real time by the system's clock; each stream can be given a clock that is off."""

    def __init__(self) -> None:
        super().__init__()
        self.offset_s: dict[str, float] = {}
        self.frozen: set[str] = set()

    def run_ticks(self, count: int, skip=lambda topic, tick: False) -> None:
        due = time.monotonic()
        for _ in range(count):
            for topics, every in ((self.states, 1), (self.cameras, 10)):
                for topic, (publisher, message) in topics.items() if self.tick % every == 0 else ():
                    if topic not in self.frozen:
                        offset_ns = round(1e9 * self.offset_s.get(topic, 0.0))
                        message.header.stamp = ns_to_stamp(time.time_ns() + offset_ns)
                    publisher.publish(message)
            self.tick += 1
            rclpy.spin_once(self, timeout_sec=0.0)
            due += 0.01  # a machine that was busy catches up: the rate stays
            time.sleep(max(0.0, due - time.monotonic()))


def real(cell: RealCell) -> dict:
    """Clocks that are off are refused; one that goes off or stands still while recording is told."""
    cell.wait_for_recorder()
    seen = {}
    for name, offset_s, words in (("behind", -0.4, "stamps are 0.4"), ("ahead", 0.3, "in the future")):
        cell.offset_s = {"robot/ee_pose": offset_s}
        seen[name], deadline = [False, ""], time.monotonic() + 60.0
        # On a busy machine the newest stamps may be older than that when they are judged.
        while not seen[name][0] and words not in seen[name][1] and time.monotonic() < deadline:
            cell.run_ticks(100)
            seen[name] = cell.ask("start")
    cell.offset_s = {}
    deadline = time.monotonic() + 60.0
    while not seen.get("start", [False])[0] and time.monotonic() < deadline:
        cell.run_ticks(100)  # on a busy machine this cell is not at its rate all the time
        seen["start"] = cell.ask("start")
    cell.run_ticks(60)
    cell.offset_s = {"robot/ee_pose": -0.08}
    seen["drift"] = cell.warned("robot/ee_pose: its clock drifts")
    cell.offset_s, cell.frozen = {}, {"robot/wrench"}
    seen["frozen"] = cell.warned("robot/wrench: its stamps stand still")
    seen["stop"] = cell.ask("success")
    return seen


def crash(cell: OperatedCell) -> dict:
    """The recorder dies of a command; nobody is answered."""
    cell.wait_for_recorder()
    cell.ask("start")
    cell.run_ticks(60)
    client = cell.find_service(OperatorRequest, "recorder/operator")
    client.call_async(OperatorRequest.Request(command="failure"))
    cell.run_ticks(20)
    return {}


def failing(cell: OperatedCell) -> dict:
    """The disk fills up in the middle of an episode."""
    cell.wait_for_recorder()
    seen = {"start": cell.ask("start"), "failed": cell.until("FAILED")}
    seen["again"] = cell.ask("start")
    return seen


def set_plan(cell: OperatedCell, name: str) -> list:
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=name)
    parameters = [Parameter(name="plan", value=value)]
    result = cell.call(SetParameters, "recorder/set_parameters", parameters=parameters).results[0]
    return [result.successful, result.reason]


def half_rate(cell: OperatedCell) -> dict:
    """The wrist camera sends every second frame."""
    cell.wait_for_recorder()

    def go_on() -> None:
        cell.run_ticks(200, skip=lambda topic, tick: "wrist" in topic and tick // 10 % 2 == 1)

    go_on()
    go_on()
    service = cell.call(StartEpisode, "recorder/start_episode", task="place")
    go_on()
    refused = cell.ask("start")
    deadline = time.monotonic() + 60.0
    while not (cell.state.warnings and cell.state.text) and time.monotonic() < deadline:
        rclpy.spin_once(cell, timeout_sec=0.1)
    return {"service": [service.success, service.message], "operator": refused, "said": cell.said()}


def limited(cell: OperatedCell) -> dict:
    """Auto start and a longest duration: two episodes by one press."""
    cell.wait_for_recorder()
    seen = {"start": cell.ask("start"), "closed": []}
    while len(seen["closed"]) < 2:
        cell.until("RECORDING")
        seen["closed"].append(cell.until("RESET", "IDLE"))
        if seen["closed"][-1]["state"] == "IDLE":
            break
        seen["label"] = cell.ask("success")
    cell.until("IDLE")
    seen["done"] = cell.said()
    seen["refused"] = cell.ask("start")
    return seen


def main() -> None:
    rclpy.init()
    found = (planned, resumed, half_rate, limited, real, crash, failing)
    scenarios = {scenario.__name__: scenario for scenario in found}
    kind = RealCell if sys.argv[1] == "real" else OperatedCell
    print(json.dumps(scenarios[sys.argv[1]](kind())), flush=True)
    rclpy.try_shutdown()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
