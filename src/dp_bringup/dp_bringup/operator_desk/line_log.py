"""What the desk prints where there is no terminal: one line for each thing that is new."""

from __future__ import annotations

from dataclasses import dataclass

from dp_bringup.operator_desk.panel import STATE_NAMES
from dp_msgs.msg import EpisodeState


@dataclass
class LineLog:
    """Turns states of the recorder into lines; remembers what was said."""

    _state: int = -1
    _verdict: str = ""
    _warned: frozenset[str] = frozenset()
    _text: str = ""

    def lines(self, state: EpisodeState) -> list[str]:
        """What is new in this state."""
        found = []
        if state.state != self._state:
            self._state = state.state
            where = f", item {state.plan_number} of {state.plan_length}" if state.plan_number else ""
            open_now = state.state in (EpisodeState.RECORDING, EpisodeState.CLOSING)
            what = f" {state.episode_id}" if open_now else ""
            found.append(f"{STATE_NAMES.get(state.state, state.state)}{what}{where}")
            if state.prompt and state.state in (EpisodeState.RESET, EpisodeState.IDLE):
                found.append(f"  place: {state.prompt}")
        verdict = f"{state.path.rsplit('/', 1)[-1]}: {state.outcome}, {state.verdict}" if state.verdict else ""
        if verdict and verdict != self._verdict:
            found.append("; ".join((verdict, *state.reasons)))
        self._verdict = verdict or self._verdict
        fresh = [text for text in state.warnings if text.split(":")[0] not in self._warned]
        self._warned = frozenset(text.split(":")[0] for text in state.warnings)
        found += [f"warning: {text}" for text in fresh]
        if state.text and state.text != self._text:
            found.append(state.text)
        self._text = state.text
        return found
