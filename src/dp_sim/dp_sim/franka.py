"""Franka arm with hand as a MuJoCo model built in code, without mesh files.

Frames and link offsets are the published Denavit-Hartenberg parameters of the Panda/FR3 (same values), masses and
inertias the identified ones of the Panda as published with its robot description, joint limits those of the FR3 data
sheet. Geometry is capsules and boxes. Frames: world = `fr3_link0`; `fr3_hand_tcp` has z out of the hand, y along the
finger motion, and lies between the finger pads. MuJoCo quaternions (wxyz) exist in this file and in `cell.py` only.
"""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

ARM_JOINTS = tuple(f"fr3_joint{i}" for i in range(1, 8))
FINGER_JOINTS = ("fr3_finger_joint1", "fr3_finger_joint2")
BASE_FRAME = "fr3_link0"
HAND_BODY = "fr3_hand"
TCP_SITE = "fr3_hand_tcp"
TCP_OFFSET_M = 0.1034
FINGER_TRAVEL_M = 0.04
TORQUE_LIMIT_NM = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
JOINT_VELOCITY_RAD_S = (2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26)
JOINT_RANGE_RAD = (
    (-2.7437, 2.7437),
    (-1.7837, 1.7837),
    (-2.9007, 2.9007),
    (-3.0421, -0.1518),
    (-2.8065, 2.8065),
    (0.5445, 4.5169),
    (-3.0159, 3.0159),
)
HOME_RAD = (0.0, -0.2, 0.0, -2.3, 0.0, 2.1, 0.7854)
# Geometry groups: 0 visible, 3 hidden collision shapes.
_WHITE = (0.90, 0.90, 0.92, 1.0)
_DARK = (0.22, 0.23, 0.25, 1.0)
_PAD = (0.12, 0.12, 0.13, 1.0)
_QUARTER_X = (0.70710678, 0.70710678, 0.0, 0.0)
_QUARTER_X_BACK = (0.70710678, -0.70710678, 0.0, 0.0)


@dataclass(frozen=True)
class _Link:
    """One link: frame in its parent (m, wxyz), mass (kg), centre of mass (m), inertia (xx yy zz xy xz yz, kg m2)."""

    pos: tuple[float, float, float]
    quat_wxyz: tuple[float, float, float, float]
    mass: float
    com: tuple[float, float, float]
    inertia: tuple[float, float, float, float, float, float]
    capsules: tuple[tuple[float, ...], ...]  # radius, from x y z, to x y z


_UPRIGHT = (1.0, 0.0, 0.0, 0.0)
# fmt: off
_LINKS = (
    _Link((0, 0, 0.333), _UPRIGHT, 4.970684, (0.003875, 0.002081, -0.04762),
          (0.70337, 0.70661, 0.0091170, -0.00013900, 0.0067720, 0.019169),
          ((0.06, 0, 0, -0.192, 0, 0, -0.05), (0.06, 0, -0.05, 0, 0, 0.05, 0))),
    _Link((0, 0, 0), _QUARTER_X_BACK, 0.646926, (-0.003141, -0.02872, 0.003495),
          (0.0079620, 0.028110, 0.025995, -0.003925, 0.010254, 0.000704),
          ((0.06, 0, -0.14, 0, 0, -0.06, 0),)),
    _Link((0, -0.316, 0), _QUARTER_X, 3.228604, (0.027518, 0.039252, -0.066502),
          (0.037242, 0.036155, 0.010830, -0.004761, -0.011396, -0.012805),
          ((0.055, 0, 0, -0.12, 0, 0, -0.06), (0.055, 0.0825, -0.03, 0, 0.0825, 0.05, 0))),
    _Link((0.0825, 0, 0), _QUARTER_X, 3.587895, (-0.05317, 0.104419, 0.027454),
          (0.025853, 0.019552, 0.028323, 0.007796, -0.001332, 0.008641),
          ((0.055, -0.0825, 0.08, 0, -0.0825, 0.14, 0),)),
    _Link((-0.0825, 0.384, 0), _QUARTER_X_BACK, 1.225946, (-0.011953, 0.041065, -0.038437),
          (0.035549, 0.029474, 0.008627, -0.002117, -0.004037, 0.000229),
          ((0.055, 0, 0, -0.22, 0, 0, -0.12), (0.045, 0, 0.07, -0.10, 0, 0.07, 0.0))),
    _Link((0, 0, 0), _QUARTER_X, 1.666555, (0.060149, -0.014117, -0.010517),
          (0.001964, 0.004354, 0.005433, 0.000109, -0.001158, 0.000341),
          ((0.05, 0, 0, 0, 0.06, 0, 0), (0.045, 0.088, 0, 0, 0.088, 0.04, 0))),
    _Link((0.088, 0, 0), _QUARTER_X, 0.735522, (0.010517, -0.004252, 0.061597),
          (0.012516, 0.010027, 0.004815, -0.000428, -0.001196, -0.000741),
          ((0.045, 0, 0, 0.05, 0, 0, 0.075),)),
)
# fmt: on


def add_franka(spec: mujoco.MjSpec, compensates_gravity: bool = False) -> None:
    """Add arm, hand, actuators and exclusions to `spec`, base at the world's origin.

    Actuators, in order: seven joint torques (Nm), two finger forces (N, positive opens).

    Args:
        spec: model under construction.
        compensates_gravity: the arm carries itself, as a Franka arm does under torque control, and the actuators'
            torques come on top; what it holds in its fingers it does not carry.
    """
    base = spec.worldbody.add_body(name=BASE_FRAME)
    _capsule(base, (0.07, -0.05, 0, 0.06, 0, 0, 0.1))
    parent = base
    for index, link in enumerate(_LINKS):
        parent = _add_link(parent, index, link)
    hand = _add_hand(parent)
    fingers = [_add_finger(hand, index) for index in range(2)]
    for index, limit in enumerate(TORQUE_LIMIT_NM):
        _add_motor(spec, ARM_JOINTS[index], limit)
    for joint in FINGER_JOINTS:
        _add_motor(spec, joint, 100.0)
    coupling = spec.add_equality(
        name="finger_coupling",
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1=FINGER_JOINTS[0],
        name2=FINGER_JOINTS[1],
        solref=[0.004, 1.0],
    )
    coupling.data[:5] = [0.0, 1.0, 0.0, 0.0, 0.0]
    _exclude_neighbours(spec, [finger.name for finger in fingers])
    if compensates_gravity:
        for body in spec.bodies:
            if body.name.startswith("fr3_"):
                body.gravcomp = 1.0


def _add_link(parent: mujoco.MjsBody, index: int, link: _Link) -> mujoco.MjsBody:
    body = parent.add_body(
        name=f"fr3_link{index + 1}",
        pos=link.pos,
        quat=link.quat_wxyz,
        mass=link.mass,
        ipos=link.com,
        fullinertia=link.inertia,
        explicitinertial=True,
    )
    body.add_joint(
        name=ARM_JOINTS[index],
        type=mujoco.mjtJoint.mjJNT_HINGE,
        axis=[0, 0, 1],
        range=JOINT_RANGE_RAD[index],
        limited=True,
        armature=0.1,
        damping=0.3,
    )
    for capsule in link.capsules:
        _capsule(body, capsule)
    return body


def _add_hand(flange_parent: mujoco.MjsBody) -> mujoco.MjsBody:
    half_turn = np.pi / 8.0
    hand = flange_parent.add_body(
        name=HAND_BODY,
        pos=[0, 0, 0.107],
        quat=[np.cos(half_turn), 0, 0, -np.sin(half_turn)],
        mass=0.73,
        ipos=[-0.01, 0, 0.03],
        inertia=[0.001, 0.0025, 0.0017],
        explicitinertial=True,
    )
    hand.add_geom(
        name="fr3_palm",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[0, 0, 0.033],
        size=[0.02, 0.1, 0.0255],
        rgba=_WHITE,
        mass=0.0,
    )
    hand.add_site(name=TCP_SITE, pos=[0, 0, TCP_OFFSET_M], group=4)
    return hand


def _add_finger(hand: mujoco.MjsBody, index: int) -> mujoco.MjsBody:
    """One finger; its joint opens along its own +y, the inner pad face lies at y = 0 when closed."""
    finger = hand.add_body(
        name=f"fr3_finger{index + 1}",
        pos=[0, 0, 0.0584],
        quat=_UPRIGHT if index == 0 else (0.0, 0.0, 0.0, 1.0),
        mass=0.015,
        ipos=[0, 0.015, 0.03],
        inertia=[2.4e-6, 2.4e-6, 7.5e-7],
        explicitinertial=True,
    )
    finger.add_joint(
        name=FINGER_JOINTS[index],
        type=mujoco.mjtJoint.mjJNT_SLIDE,
        axis=[0, 1, 0],
        range=[0.0, FINGER_TRAVEL_M],
        limited=True,
        armature=0.1,
        damping=5.0,
    )
    finger.add_geom(
        name=f"fr3_finger{index + 1}_body",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[0, 0.013, 0.016],
        size=[0.010, 0.010, 0.016],
        rgba=_DARK,
        mass=0.0,
    )
    finger.add_geom(
        name=f"fr3_finger{index + 1}_pad",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[0, 0.005, 0.044],
        size=[0.009, 0.005, 0.011],
        rgba=_PAD,
        mass=0.0,
        friction=[1.2, 0.02, 0.0005],
        condim=4,
        solref=[0.004, 1.0],
        priority=1,
    )
    return finger


def _capsule(body: mujoco.MjsBody, capsule: tuple[float, ...]) -> None:
    radius, *ends = capsule
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CAPSULE,
        size=[radius, 0, 0],
        fromto=ends,
        rgba=_WHITE,
        mass=0.0,
        contype=1,
        conaffinity=1,
    )


def _add_motor(spec: mujoco.MjSpec, joint: str, limit: float) -> None:
    motor = spec.add_actuator(
        name=f"{joint}_motor",
        target=joint,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        ctrlrange=[-limit, limit],
        ctrllimited=True,
    )
    motor.set_to_motor()


def _exclude_neighbours(spec: mujoco.MjSpec, fingers: list[str]) -> None:
    """Links that always touch or overlap are left out of collision."""
    chain = [BASE_FRAME, *(f"fr3_link{i}" for i in range(1, 8)), HAND_BODY]
    pairs = [(chain[i], chain[j]) for i in range(len(chain)) for j in range(i + 1, min(i + 4, len(chain)))]
    pairs += [(finger, other) for finger in fingers for other in (HAND_BODY, "fr3_link7", "fr3_link6")]
    pairs.append((fingers[0], fingers[1]))
    for first, second in pairs:
        spec.add_exclude(name=f"{first}-{second}", bodyname1=first, bodyname2=second)
