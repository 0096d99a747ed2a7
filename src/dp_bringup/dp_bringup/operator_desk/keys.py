"""Which key asks for what."""

from __future__ import annotations

from dataclasses import dataclass

from dp_msgs.msg import EpisodeState

#: Key to command of OperatorRequest.
COMMANDS = {
    "s": "start",
    " ": "start",
    "y": "success",
    "n": "failure",
    "u": "stop",
    "d": "discard",
    "r": "redo",
    "p": "pause",
    "g": "go_on",
    ">": "next",
    ".": "next",
    "\x1b[C": "next",
    "<": "previous",
    ",": "previous",
    "\x1b[D": "previous",
}
TELEOP = "teleop"
RESET_SCENE = "reset_scene"
_DESK = {"t": TELEOP, "o": RESET_SCENE}

HELP = (
    ("s, space", "start: count-down, then record"),
    ("y", "success: close the episode, or label the last one"),
    ("n", "failure: likewise"),
    ("u", "stop: close it without a label; cancel a count-down; end a pause"),
    ("d", "discard: put the open episode, or the last one, aside; cancel a count-down"),
    ("r", "redo: discard, and take the same item of the plan again"),
    ("p, g", "pause: hold the reset pause; go on"),
    ("<, >", "previous, next item of the plan (also arrow keys)"),
    ("t", "the arm follows you (TELEOP); also after a stop or a fault"),
    ("o", "put the simulated scene into its start state"),
    ("?", "this help"),
    ("q", "quit; an open episode is kept, without a label"),
)
#: What is worth a key in the panel's last line, by state of the recorder.
_HINTS = {
    EpisodeState.IDLE: "[s]tart  [y]es/[n]o/[d]iscard/[r]edo the last  [<][>] item  [?] help  [q]uit",
    EpisodeState.FAILED: "[s]tart  [r]edo the last  [?] help  [q]uit",
    EpisodeState.COUNTDOWN: "[d]iscard or [u] cancels the start  [?] help  [q]uit",
    EpisodeState.RECORDING: "[y] success  [n] failure  [u] no label  [d]iscard  [r]edo  [?] help",
    EpisodeState.CLOSING: "closing, a moment  [?] help",
    EpisodeState.RESET: "[s]tart now  [p]ause/[g]o on  [y]/[n]/[d]/[r] the last  [<][>] item  [?] help",
}
_UNSAFE = (EpisodeState.COUNTDOWN, EpisodeState.RECORDING, EpisodeState.CLOSING)


def hint(state: int) -> str:
    """The keys that matter now, on one line."""
    return _HINTS.get(state, "[?] help  [q]uit")


@dataclass
class Keyboard:
    """What pressed keys ask for; remembers a question that waits for its answer.

    Attributes:
        asks_to_quit: The next `q` ends an episode that is being recorded.
        shows_help: The help is on the screen.
    """

    asks_to_quit: bool = False
    shows_help: bool = False

    def press(self, key: str, state: int) -> str:
        """Take a key.

        Args:
            key: A character, or an escape sequence.
            state: Of the recorder (constants of EpisodeState).

        Returns:
            A command of OperatorRequest, ``quit``, ``teleop``, ``reset_scene``, or empty for nothing to do.
        """
        asked, self.asks_to_quit = self.asks_to_quit, False
        key = key if key.startswith("\x1b") else key.lower()
        if key == "q":
            if state in _UNSAFE and not asked:
                self.asks_to_quit = True
                return ""
            return "quit"
        if key == "?" or (self.shows_help and key == "\x1b"):
            self.shows_help = not self.shows_help
            return ""
        return COMMANDS.get(key) or _DESK.get(key, "")
