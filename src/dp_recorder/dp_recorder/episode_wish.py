"""A request for an episode, and the answer to a request, which may take a moment."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from dp_recorder.episode_writer import ClosedEpisode


@dataclass
class Answer:
    """The answer to a request, which may take a moment; a coroutine can await it.

    Attributes:
        done: It is there.
        accepted: What was asked for has happened.
        text: What happened, or why not.
        closed: The episode that was closed by it, if one was.
    """

    done: bool = False
    accepted: bool = True
    text: str = ""
    closed: ClosedEpisode | None = None

    def give(self, accepted: bool, text: str, closed: ClosedEpisode | None = None) -> None:
        """Answer, unless that has happened."""
        if not self.done:
            self.done, self.accepted, self.text, self.closed = True, accepted, text, closed

    def __await__(self) -> Generator[None, None, Answer]:
        while not self.done:
            yield
        return self


@dataclass
class EpisodeWish:
    """What a request says of the episode to come; empty where the plan or the parameters decide."""

    task: str = ""
    operator: str = ""
    note: str = ""
