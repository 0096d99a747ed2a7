"""A plan of recordings: which task, how many episodes, where the objects go before each. One YAML file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from dp_core.configuration import ConfigurationError, build_dataclass, require_range
from dp_core.contract import config_directory

from dp_recorder.episode import DISCARD, DISCARDED_FOLDER, EPISODE_FILE, EpisodeError, read_episode_file
from dp_recorder.operator_flow import FlowSettings

LONGEST_PLAN = 100_000


class PlanError(ConfigurationError):
    """A plan is missing or wrong; the message names the file, the key, the value and what is valid."""


@dataclass(frozen=True)
class Plan:
    """What is to be recorded; see config/plans/example.yaml.

    Attributes:
        name: Of the plan, kept in every episode; the file's name unless given.
        task: What the robot is asked to do.
        episodes: How many.
        operator: Who drives; empty: as the recorder's parameter says.
        prompts: Where the objects go; one for each episode, or fewer, which are then taken in turn.
        countdown_s: Count-down before each episode, s.
        reset_pause_s: Pause after each, s.
        auto_start: The next episode begins by itself after the pause.
        max_duration_s: Longest episode, s; 0: no limit.
        note: Kept in every episode.
        seed: Of the first episode's scene, then one more each; kept in the note.
    """

    name: str
    task: str
    episodes: int
    operator: str = ""
    prompts: tuple[str, ...] = ()
    countdown_s: float = 3.0
    reset_pause_s: float = 0.0
    auto_start: bool = False
    max_duration_s: float = 0.0
    note: str = ""
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check ranges."""
        for key, value in (("name", self.name), ("task", self.task)):
            if not value.strip():
                raise ConfigurationError(f"{key}: must not be empty; valid: any text, for example 'place'")
        require_range("episodes", self.episodes, 1, LONGEST_PLAN)
        if len(self.prompts) > self.episodes:
            raise ConfigurationError(
                f"prompts: {len(self.prompts)} prompts for {self.episodes} episodes; valid: at most one for each"
            )
        require_range("countdown_s", self.countdown_s, 0, 60, "s")
        require_range("reset_pause_s", self.reset_pause_s, 0, 3600, "s")
        require_range("max_duration_s", self.max_duration_s, 0, 36000, "s (0: no limit)")
        if self.seed is not None:
            require_range("seed", self.seed, 0, 2**31)

    @property
    def settings(self) -> FlowSettings:
        """How the flow goes under this plan."""
        return FlowSettings(self.countdown_s, self.reset_pause_s, self.auto_start, self.max_duration_s)

    def prompt(self, item: int) -> str:
        """Where the objects go before item ``item`` (from 1)."""
        return self.prompts[(item - 1) % len(self.prompts)] if self.prompts else ""

    def note_of(self, item: int) -> str:
        """Note of the episode of item ``item`` (from 1)."""
        seed = "" if self.seed is None else f"seed={self.seed + item - 1}"
        return "; ".join(text for text in (self.note, seed) if text)

    def item_of(self, episode: Mapping[str, Any]) -> int | None:
        """Item that an episode is of, by its ``episode.json``; None if it is of none."""
        entry = episode.get("plan")
        if not isinstance(entry, Mapping) or entry.get("name") != self.name:
            return None
        item = entry.get("item")
        return item if isinstance(item, int) and 1 <= item <= self.episodes else None

    def describe(self, item: int) -> dict[str, Any]:
        """What ``episode.json`` says of the plan."""
        return {"name": self.name, "item": item, "of": self.episodes, "prompt": self.prompt(item)}


def load_plan(name: str | Path) -> Plan:
    """Read a plan.

    Args:
        name: Path of a YAML file, or a name in config/plans.

    Raises:
        PlanError: If it is missing, not YAML or wrong.
    """
    path = _find(str(name))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: not valid YAML: {error}") from error
    except OSError as error:
        raise PlanError(f"{path}: cannot be read: {error}") from error
    if isinstance(content, Mapping):
        content = {"name": path.stem, **content}
    try:
        return build_dataclass(Plan, content)
    except ConfigurationError as error:
        raise PlanError(f"{path}: {error}") from error


def _find(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    folder = config_directory() / "plans"
    named = folder / f"{name}.yaml"
    if Path(name).name == name and named.is_file():
        return named
    known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) or "none"
    raise PlanError(f"no plan '{name}': neither a file nor one of {folder} ({known})")


class PlanProgress:
    """Which items of a plan are recorded, and which comes next.

    An item counts as recorded while an episode of it is kept: closed and not put aside. An item whose episode is put
    aside comes again when the plan has been gone through.

    Attributes:
        plan: The plan.
        item: Item that comes next or is open, from 1; None when the plan is done.
    """

    def __init__(self, plan: Plan, kept: Mapping[str, int] | None = None) -> None:
        """Go on from what is there.

        Args:
            plan: The plan.
            kept: Kept episodes: id to item.
        """
        self.plan = plan
        self._kept = dict(kept or {})
        self.item: int | None = self._first_left(range(1, plan.episodes + 1))

    @property
    def done(self) -> int:
        """How many items are recorded."""
        return len(set(self._kept.values()))

    @property
    def finished(self) -> bool:
        """Nothing is left to record."""
        return self.item is None

    def is_done(self, item: int) -> bool:
        """True while an episode of the item is kept."""
        return item in self._kept.values()

    def closed(self, episode_id: str, item: int, outcome: str) -> None:
        """An episode of ``item`` was closed or relabelled; goes on to the next item that is not recorded."""
        self.relabelled(episode_id, item, outcome)
        count = self.plan.episodes
        self.item = self._first_left([*range(item + 1, count + 1), *range(1, item + 1)])

    def relabelled(self, episode_id: str, item: int, outcome: str) -> None:
        """An episode was put aside or taken back; the next item stays, unless there was none."""
        if outcome == DISCARD:
            self._kept.pop(episode_id, None)
        else:
            self._kept[episode_id] = item
        if self.item is None:
            self.item = self._first_left(range(1, self.plan.episodes + 1))

    def repeat(self, item: int) -> None:
        """Take an item again."""
        self.item = item

    def move(self, by: int) -> str:
        """Go ``by`` items on; says where that is."""
        count = self.plan.episodes
        start = self.item if self.item is not None else (count + 1 if by < 0 else count)
        self.item = min(max(start + by, 1), count)
        return self.text

    @property
    def text(self) -> str:
        """Where the plan is, in words."""
        if self.item is None:
            return f"plan '{self.plan.name}' is done: {self.done} of {self.plan.episodes} episodes recorded"
        again = " (recorded already)" if self.is_done(self.item) else ""
        return f"item {self.item} of {self.plan.episodes}{again}"

    def _first_left(self, items: Iterable[int]) -> int | None:
        taken = set(self._kept.values())
        return next((item for item in items if item not in taken), None)


def read_progress(plan: Plan, directory: Path) -> PlanProgress:
    """Progress of a plan by the episodes in a folder; those of other plans and unfinished ones do not count."""
    kept: dict[str, int] = {}
    for file in sorted(directory.glob(f"*/{EPISODE_FILE}")):
        if file.parent.name == DISCARDED_FOLDER:
            continue
        try:
            content = read_episode_file(file.parent)
        except EpisodeError:
            continue  # damaged: `dp bag check` tells; it counts for nothing here
        item = plan.item_of(content)
        if item is not None and content.get("state") == "closed" and content.get("outcome") != DISCARD:
            kept[file.parent.name] = item
    return PlanProgress(plan, kept)
