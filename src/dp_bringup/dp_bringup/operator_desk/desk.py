"""The desk itself: draws, rings, and passes on what the operator presses."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from dp_bringup.errors import CommandError
from dp_bringup.operator_desk.bells import Bells, Ringer
from dp_bringup.operator_desk.keys import RESET_SCENE, TELEOP, Keyboard
from dp_bringup.operator_desk.line_log import LineLog
from dp_bringup.operator_desk.panel import DeskView, render
from dp_bringup.operator_desk.recorder_link import RecorderLink, Reply
from dp_bringup.operator_desk.terminal import Terminal
from dp_msgs.msg import CommandState, EpisodeState

PERIOD_S = 0.04
RETRY_TELEOP_S = 3.0
MESSAGE_S = 8.0
CLOSE_PATIENCE_S = 30.0
_OPEN = (EpisodeState.RECORDING, EpisodeState.CLOSING)


@dataclass
class Desk:
    """Runs until the operator quits.

    Attributes:
        link: To the graph.
        terminal: Where it is shown.
        cell: Name of the cell.
        quiet: No bells.
        drives: Ask control, which starts in STOPPED, to follow the operator. Not for a graph that runs already: whoever
            stopped the arm there, or lets a policy drive, is not to be overruled by a desk that joins.
        scene_seed: Seed of the simulated scene for the coming episode; None where scenes are real.
        plan_seeds: The recorder's plan names the seeds, so that notes need not.
        rows: Closed episodes as plain data.
        interrupted: It was ended by Ctrl-C.
    """

    link: RecorderLink
    terminal: Terminal
    cell: str
    quiet: bool = False
    drives: bool = True
    scene_seed: Callable[[EpisodeState], int] | None = None
    plan_seeds: bool = False
    rows: list[dict[str, Any]] = field(default_factory=list)
    interrupted: bool = False
    _keyboard: Keyboard = field(default_factory=Keyboard)
    _bells: Bells = field(default_factory=Bells)
    _ringer: Ringer = field(default_factory=Ringer)
    _log: LineLog = field(default_factory=LineLog)
    _message: tuple[str, bool, float] = ("", True, 0.0)
    _teleop_asked_s: float | None = None
    _followed: bool = False
    _seen: EpisodeState | None = None
    _scene: int | None = None

    def run(self) -> None:
        """Serve the operator until he quits or presses Ctrl-C; an episode open then is closed without a label."""
        try:
            while self._serve():
                time.sleep(PERIOD_S)
        except KeyboardInterrupt:
            self.interrupted = True
        finally:
            self.close_episode()

    def close_episode(self) -> None:
        """Close an open episode without a label and wait until it is whole; whatever fails, the recorder does it."""
        with contextlib.suppress(CommandError):
            # Heard late is heard still: the state may lag behind a key that was pressed just now.
            self.link.wait_for(lambda: not self.link.busy, 5.0, "the last answer")
            if self._state_number() in (*_OPEN, EpisodeState.COUNTDOWN):
                self.link.ask("stop", "ended at the desk")
                self.link.wait_for(self._is_closed, CLOSE_PATIENCE_S, "the recorder to close the episode")
            self._note_episode()
            if self._state_number() == EpisodeState.RESET:
                self.link.ask("stop")  # else the next episode might begin with nobody there
                self.link.wait_for(lambda: not self.link.busy, 5.0, "the end of the pause")

    def _is_closed(self) -> bool:
        self._take_replies()
        return not self.link.busy and self._state_number() not in (*_OPEN, EpisodeState.COUNTDOWN)

    def _serve(self) -> bool:
        """One round; False when the operator quits."""
        before = self._state_number()
        self.link.poll()
        if self._state_number() != before:
            self._message = ("", True, 0.0)
        self._take_replies()
        self._note_episode()
        self._prepare_arm()
        for key in self.terminal.keys():
            if not self._act(self._keyboard.press(key, self._state_number())):
                return False
        self._show()
        return True

    def _state_number(self) -> int:
        return EpisodeState.IDLE if self.link.state is None else int(self.link.state.state)

    def _act(self, wish: str) -> bool:
        if wish == "quit":
            return False
        if wish == TELEOP:
            self.link.ask_teleop()
        elif wish == RESET_SCENE:
            self._reset_scene()
        elif wish:
            seed = f"seed={self._scene}" if self._scene is not None and not self.plan_seeds else ""
            self.link.ask(wish, seed if wish == "start" else "")
        return True

    def _reset_scene(self) -> None:
        if self.scene_seed is None or self.link.state is None:
            self._say("the scene is not simulated: place the objects by hand", False)
        elif self._state_number() in _OPEN:
            self._say("not while an episode is open", False)
        else:
            self._scene = self.scene_seed(self.link.state)
            self.link.ask_scene(self._scene)

    def _take_replies(self) -> None:
        while self.link.replies:
            reply = self.link.replies.popleft()
            self._followed |= reply.what == "teleop" and reply.ok
            if reply.text or not reply.ok:
                self._say(_reply_text(reply), reply.ok)

    def _say(self, text: str, ok: bool = True) -> None:
        self._message = text, ok, time.monotonic()
        if not self.terminal.is_screen:
            self.terminal.print(text)

    def _note_episode(self) -> None:
        """Keep a row of each episode that was closed, and prepare the scene for the next."""
        before, state = self._seen, self.link.state
        if state is None or state is before:
            return
        self._seen = state
        ended = before is not None and before.state in _OPEN and state.state not in _OPEN
        if ended or (before is None and self.scene_seed is not None):
            if ended and state.verdict:
                self.rows.append(
                    {"path": state.path, "task": state.task, "outcome": state.outcome, "verdict": state.verdict,
                     "reasons": list(state.reasons)}
                )  # fmt: skip
            if self.scene_seed is not None:
                self._reset_scene()
        elif self.rows and state.path and state.outcome:
            self.rows[-1].update(path=state.path, outcome=state.outcome)  # labelled anew

    def _prepare_arm(self) -> None:
        """Ask for TELEOP until control has left STOPPED once; after that it is the operator's key."""
        if not self.drives or self._followed or self.link.command is None or self.link.busy:
            return
        if self.link.command.mode != CommandState.STOPPED:
            self._followed = True
            return
        now_s = time.monotonic()
        if self._teleop_asked_s is None or now_s - self._teleop_asked_s > RETRY_TELEOP_S:
            self._teleop_asked_s = now_s
            self.link.ask_teleop()

    def _show(self) -> None:
        state, now_s = self.link.state, time.monotonic()
        if state is not None and not self.quiet:
            self._ringer.ring(self._bells.hear(state.state, state.countdown_s, state.warnings))
            if self._ringer.due(now_s):
                self.terminal.ring()
        if not self.terminal.is_screen:
            for line in self._log.lines(state) if state is not None else []:
                self.terminal.print(line)
            return
        columns, rows = self.terminal.size
        self.terminal.draw(render(self._view(now_s), columns, rows))

    def _view(self, now_s: float) -> DeskView:
        text, ok, said_s = self._message
        command, teleop = self.link.command, self.link.teleop
        fresh = now_s - said_s < MESSAGE_S
        return DeskView(
            cell=self.cell,
            state=self.link.state,
            silent_s=self.link.silent_s,
            control=self.link.control_text(),
            control_ok=command is None or command.mode == CommandState.TELEOP,
            device=_device_text(teleop),
            device_ok=teleop is None or teleop.connected,
            message=text if fresh else "",
            message_ok=ok,
            asks_to_quit=self._keyboard.asks_to_quit,
            shows_help=self._keyboard.shows_help,
            domain=os.environ.get("ROS_DOMAIN_ID", ""),
        )


def _reply_text(reply: Reply) -> str:
    return reply.text if reply.ok else f"{reply.what}: {reply.text}"


def _device_text(teleop: Any) -> str:
    if teleop is None:
        return ""
    name = teleop.device or "SpaceMouse"
    if not teleop.connected:
        return f"{name}: lost"
    held = "" if teleop.engaged else "  (dead-man button not held)"
    return f"{name}  speed x{teleop.speed_factor:g}{held}"
