"""What a task is: scene additions, seeded start, measured success, and the scripted operator's plan.

A task is one file in `dp_sim.tasks` with one subclass of `Task`; `load_task` finds it by name.
Poses are pose7 (x y z qx qy qz qw, metres, base frame `fr3_link0`).
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class UnknownTaskError(ValueError):
    """No file of `dp_sim.tasks` defines the task."""


@dataclass(frozen=True)
class Condition:
    """One success condition: met or not, and its value against its limit as text."""

    name: str
    met: bool
    text: str


@dataclass(frozen=True)
class SceneView:
    """What the success conditions are measured from, straight from the physics state.

    Attributes:
        t_s: time since the reset, s.
        ee_pose: pose7 of the tool centre point.
        ee_speed_m_s: its linear speed.
        width_m: opening of the gripper.
        objects: pose7 of each object by name.
        object_speeds: (linear m/s, angular rad/s) of each object by name.
        held: names of objects in contact with the robot at this instant.
        collisions: number of contact onsets with forbidden geometry since the reset (checked every millisecond).
    """

    t_s: float
    ee_pose: Array
    ee_speed_m_s: float
    width_m: float
    objects: Mapping[str, Array]
    object_speeds: Mapping[str, tuple[float, float]]
    held: frozenset[str]
    collisions: int


@dataclass(frozen=True)
class SceneStatus:
    """Score of the episode so far. `success` and `failure` are latched until the reset."""

    conditions: tuple[Condition, ...] = ()
    success: bool = False
    failure: bool = False
    reason: str = ""
    side: str = ""
    collisions: int = 0


@dataclass(frozen=True)
class OperatorView:
    """All that the scripted operator sees: published topics, nothing else."""

    ee_pose: Array
    width_m: float
    objects: Mapping[str, Array]


@dataclass(frozen=True)
class Goal:
    """Where the operator wants the tool: position (m) and yaw about the vertical (rad), tool pointing down.

    `velocity` (m/s) is that of a goal which moves in a way the operator knows: it leads the goal by it.
    """

    x: float
    y: float
    z: float
    yaw: float = 0.0
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Phase:
    """One step of the operator's plan.

    Attributes:
        name: for reports.
        goal: computes the goal from what the operator sees, every cycle.
        tolerance_m: distance at which the phase is done.
        tolerance_rad: yaw error at which the phase is done.
        speed: share of full deflection used.
        through: fly past the goal without slowing down.
        gripper: press the button until the gripper is closed (on something) or open; the phase ends then.
        follow: go on following the goal while the fingers move, instead of holding still.
    """

    name: str
    goal: Callable[[OperatorView], Goal]
    tolerance_m: float
    tolerance_rad: float = 0.12
    speed: float = 1.0
    through: bool = False
    gripper: Literal["open", "close"] | None = None
    follow: bool = False


@dataclass
class Passage:
    """Follows a point past a vertical post and tells on which side it went.

    Travel is along +x; left is +y. `over` is latched when the point comes above the footprint.
    """

    x: float
    y: float
    footprint_m: float
    side: str = ""
    over: bool = field(default=False)

    def condition(self) -> Condition:
        """Passed, and beside the post, not over it."""
        text = "went over" if self.over else f"passed on the {self.side}" if self.side else "not passed yet"
        return is_true("around", bool(self.side) and not self.over, text)

    def update(self, point: Array) -> None:
        """Take the next position (3,) of the followed point."""
        dx, dy = float(point[0]) - self.x, float(point[1]) - self.y
        if dx * dx + dy * dy < self.footprint_m**2:
            self.over = True
        if dx < -0.5 * self.footprint_m:
            self.side = ""
        elif dx >= 0.0 and not self.side:
            self.side = "left" if dy > 0.0 else "right"


class Task(ABC):
    """One task. Instances hold the episode's memory (passage), so each cell has its own."""

    name: ClassVar[str]
    time_limit_s: ClassVar[float]
    start_width_m: ClassVar[float]
    objects: ClassVar[tuple[str, ...]]
    """Names of the bodies whose poses are published."""
    forbidden_geoms: ClassVar[tuple[str, ...]]
    """Geoms that nothing may touch."""
    settle_s: ClassVar[float] = 0.2
    """All conditions must hold this long."""

    @abstractmethod
    def add_to(self, spec: Any) -> None:
        """Add the task's bodies to the `mujoco.MjSpec`."""

    @abstractmethod
    def start(self, rng: np.random.Generator) -> tuple[Array, dict[str, Array]]:
        """Draw an episode: pose7 of the tool, and pose7 of each object. Forget the last episode."""

    @abstractmethod
    def measure(self, view: SceneView) -> tuple[tuple[Condition, ...], str, str]:
        """Conditions, reason of failure (empty: none) and side passed. Called every 10 ms, in order."""

    def drive(self, t_s: float) -> tuple[float, ...]:
        """Controls of the actuators that `add_to` added, in their order, `t_s` seconds after the reset (each 1 ms)."""
        return ()

    @abstractmethod
    def plan(self, side: Literal["left", "right"]) -> tuple[Phase, ...]:
        """The operator's plan past the obstacle on `side`."""


class Scorer:
    """Turns the task's measurements into a latched `SceneStatus`."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        self.status = SceneStatus()
        self._met_since_s: float | None = None

    def update(self, view: SceneView) -> SceneStatus:
        """Score one instant."""
        conditions, reason, side = self._task.measure(view)
        limit_s = self._task.time_limit_s
        in_time = is_true("in_time", view.t_s <= limit_s, f"time {view.t_s:.1f} s (<= {limit_s:g})")
        conditions = (*conditions, in_time)
        if all(condition.met for condition in conditions):
            self._met_since_s = view.t_s if self._met_since_s is None else self._met_since_s
        else:
            self._met_since_s = None
        held_long = self._met_since_s is not None and view.t_s - self._met_since_s >= self._task.settle_s - 1e-9
        if not reason and not in_time.met:
            reason = f"time limit of {limit_s:g} s passed"
        last = self.status
        success = last.success or (held_long and not last.failure)
        failure = last.failure or (bool(reason) and not success)
        self.status = SceneStatus(
            conditions=conditions,
            success=success,
            failure=failure,
            reason=last.reason or (reason if failure else ""),
            side=side,
            collisions=view.collisions,
        )
        return self.status


def at_most(name: str, value: float, limit: float, unit: str) -> Condition:
    """Condition `value <= limit`, with text such as ``cube to target 0.004 m (<= 0.025)``."""
    return Condition(name.replace(" ", "_"), bool(value <= limit), f"{name} {value:.3f} {unit} (<= {limit:g})")


def is_true(name: str, met: bool, text: str) -> Condition:
    """Condition without a number."""
    return Condition(name, bool(met), text)


def task_names() -> list[str]:
    """Names of all tasks: the modules of `dp_sim.tasks`."""
    import dp_sim.tasks

    return sorted(module.name for module in pkgutil.iter_modules(dp_sim.tasks.__path__))


def load_task(name: str) -> Task:
    """Make the task called `name`.

    Raises:
        UnknownTaskError: no such file, or it defines no `Task` of that name; lists the valid names.
    """
    if name not in task_names():
        raise UnknownTaskError(f"no task {name!r}; the tasks are {', '.join(task_names())}")
    module = importlib.import_module(f"dp_sim.tasks.{name}")
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, Task) and getattr(value, "name", None) == name:
            return value()
    raise UnknownTaskError(f"dp_sim/tasks/{name}.py defines no Task with name = {name!r}")


def tool_down(x: float, y: float, z: float, yaw: float = 0.0) -> Array:
    """pose7 of the tool pointing down, its x axis turned by `yaw` from the base's x axis."""
    return np.array([x, y, z, np.cos(yaw / 2.0), np.sin(yaw / 2.0), 0.0, 0.0])


def upright(x: float, y: float, z: float, yaw: float = 0.0) -> Array:
    """pose7 of an object standing on the table, turned by `yaw`."""
    return np.array([x, y, z, 0.0, 0.0, np.sin(yaw / 2.0), np.cos(yaw / 2.0)])


def yaw_of_tool(pose: Array) -> float:
    """Yaw (rad) of the tool's x axis in the base frame."""
    qx, qy, qz, qw = pose[3:7].tolist()
    return float(np.arctan2(2.0 * (qx * qy + qw * qz), 1.0 - 2.0 * (qy * qy + qz * qz)))


def yaw_of_cube(pose: Array) -> float:
    """Yaw (rad) of a cube, folded by its symmetry into [-pi/4, pi/4)."""
    yaw = yaw_of_tool(pose)
    quarter = np.pi / 2.0
    return float((yaw + quarter / 2.0) % quarter - quarter / 2.0)
