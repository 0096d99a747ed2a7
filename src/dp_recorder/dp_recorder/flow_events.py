"""What happens to the operator flow, and what it asks of the shell around it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True)
class Command:
    """The operator asks for one of ``COMMANDS``."""

    name: str


@dataclass(frozen=True)
class ServiceStart:
    """A program starts an episode: no count-down."""


@dataclass(frozen=True)
class ServiceStop:
    """A program closes the open episode: no pause."""

    outcome: str


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True)
class GatePassed:
    """All required streams are as they should be."""


@dataclass(frozen=True)
class GateRefused:
    """They are not, and the patience is over."""

    reason: str


@dataclass(frozen=True)
class Begun:
    """The episode is open."""


@dataclass(frozen=True)
class BeginFailed:
    """It could not be opened."""

    reason: str


@dataclass(frozen=True)
class Closed:
    """The episode is closed; ``kept`` unless put aside; ``more``: something is left to record."""

    kept: bool
    more: bool = True


@dataclass(frozen=True)
class Failed:
    """The open episode cannot go on (full disk, receiver dead)."""

    reason: str


Event = Command | ServiceStart | ServiceStop | Tick | GatePassed | GateRefused | Begun | BeginFailed | Closed | Failed


class Action(Enum):
    """What the shell around the flow has to do."""

    CHECK = "look at the streams until they pass or the patience is over"
    BEGIN = "open an episode"
    CLOSE = "close the open episode with the outcome `value`"
    LABEL = "give the last episode the outcome `value`"
    MOVE = "go `value` items on in the plan"
    REPEAT = "go back to the plan's item of the last episode"


@dataclass(frozen=True)
class Effect:
    """One action and what it is about."""

    action: Action
    value: str | int = ""
