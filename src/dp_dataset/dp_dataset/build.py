"""Builds the training store from recorded bags, in parallel, redoing only what is new."""

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_core.contract import Contract, ContractError, contract_difference

from dp_dataset.aligned import AlignedEpisode, align_bag, required_topics
from dp_dataset.bag_reader import BagError, BagReader
from dp_dataset.store import (
    BUILDER_VERSION,
    EpisodeEntry,
    EpisodeStore,
    StoreError,
    StoreWriter,
    open_store,
)

Progress = Callable[[int, int, "EpisodeRow"], None]
DISCARDED_FOLDER = "discarded"


class BuildError(ValueError):
    """A store cannot be built from these bags; the message says from which and why."""


@dataclass(frozen=True)
class EpisodeRow:
    """One line of the build's summary.

    Attributes:
        id: Name of the episode.
        outcome: As labelled.
        verdict: The recorder's.
        steps: Instants in the store; 0 if rejected.
        duration_s: Of those instants, s.
        valid_share: Share of instants that may be learnt from.
        reused: Taken from the store that was there before.
        rejected: Why it is not in the store; empty if it is.
    """

    id: str
    outcome: str
    verdict: str
    steps: int = 0
    duration_s: float = 0.0
    valid_share: float = 0.0
    reused: bool = False
    rejected: str = ""


@dataclass(frozen=True)
class BuildSummary:
    """What a build made."""

    path: Path
    rows: tuple[EpisodeRow, ...]
    contract_hash: str
    wall_s: float

    @property
    def episodes(self) -> int:
        """Episodes in the store."""
        return sum(not row.rejected for row in self.rows)

    @property
    def steps(self) -> int:
        """Instants in the store."""
        return sum(row.steps for row in self.rows)


@dataclass(frozen=True)
class _Source:
    """A bag that takes part, as far as ``episode.json`` tells."""

    folder: Path
    episode: dict[str, Any]

    def row(self, **values: Any) -> EpisodeRow:
        episode = self.episode
        return EpisodeRow(
            id=str(episode["id"]), outcome=str(episode["outcome"]), verdict=str(episode.get("verdict", "")), **values
        )

    def entry(self, sha256: str, aligned: AlignedEpisode) -> EpisodeEntry:
        episode = self.episode
        return EpisodeEntry(
            id=str(episode["id"]),
            bag=self.folder.name,
            sha256=sha256,
            outcome=str(episode["outcome"]),
            task=str(episode.get("task", "")),
            steps=len(aligned),
            valid_steps=int(aligned.valid.sum()),
            verdict=str(episode.get("verdict", "")),
            operator=str(episode.get("operator", "")),
            seed=episode.get("seed"),
        )


def find_bags(directory: Path) -> list[Path]:
    """Folders below ``directory`` that hold an episode's bag, sorted by name; discarded ones left out."""
    found = {path.parent for path in Path(directory).rglob("*.mcap")}
    return sorted(folder for folder in found if folder.parent.name != DISCARDED_FOLDER)


def build_store(
    bags: Sequence[Path],
    out: Path,
    contract: Contract | None = None,
    outcomes: Sequence[str] = ("success",),
    *,
    reject_verdicts: Sequence[str] = ("bad",),
    min_valid_share: float = 0.8,
    workers: int = 2,
    progress: Progress | None = None,
) -> BuildSummary:
    """Align bags and write them as one store.

    The order of ``bags`` does not matter: episodes are stored by name. Episodes that are already in the store at
    ``out``, by the hash of their bag, are taken from there.

    Args:
        bags: Folders of the bags.
        out: Folder of the store; replaced in one step at the end.
        contract: The cell's contract, whose latencies then hold for all bags: stamps in bags are as they came, so a
            cell may be calibrated after recording. None to take it from the bags, which must then agree.
        outcomes: Labels of the episodes to take.
        reject_verdicts: Verdicts of the recorder that keep an episode out.
        min_valid_share: An episode with a smaller share of valid instants is rejected.
        workers: Processes that align bags; 1 aligns in this one.
        progress: Called after each episode with the number done, the number in all and its row.

    Raises:
        BuildError: If there are no bags, or contracts differ (says where), or nothing is left to store.
        BagError: If a bag lacks a stream; names bag, stream and topic.
    """
    started_s = time.monotonic()
    sources = _sources(bags)
    contract = _common_contract(sources, contract)
    for source in sources:
        if not _rejection(source, outcomes, ()):
            required_topics(BagReader(source.folder), contract)
    chosen = [s for s in sources if not _rejection(s, outcomes, reject_verdicts)]
    rows = [s.row(rejected=_rejection(s, outcomes, reject_verdicts)) for s in sources if s not in chosen]
    writer = StoreWriter(out, contract)
    try:
        previous = _Previous(out, contract)
        for source, sha256, aligned, reused in _aligned(chosen, contract, previous, workers):
            row = _admit(source, aligned, min_valid_share, reused, contract)
            if not row.rejected:
                writer.append(aligned, source.entry(sha256, aligned))
            rows.append(row)
            if progress is not None:
                progress(len(rows), len(sources), row)
        writer.finish()
    except StoreError as error:
        writer.abandon()
        reasons = "; ".join(sorted({row.rejected for row in rows if row.rejected})) or str(error)
        raise BuildError(f"none of {len(sources)} bags can be used: {reasons}") from error
    except BaseException:
        writer.abandon()
        raise
    order = {source.episode["id"]: index for index, source in enumerate(sources)}
    rows.sort(key=lambda row: order[row.id])
    return BuildSummary(Path(out), tuple(rows), contract.hash, time.monotonic() - started_s)


def _sources(bags: Sequence[Path]) -> list[_Source]:
    if not bags:
        raise BuildError("no bags were given")
    folders = sorted({Path(bag).resolve() for bag in bags}, key=lambda folder: (folder.name, folder))
    return [_Source(folder, BagReader(folder).episode) for folder in folders]


def _common_contract(sources: Sequence[_Source], contract: Contract | None) -> Contract:
    """The contract that all bags were recorded under, but for the latencies of a given one.

    Raises:
        BuildError: If a bag has none or another; lists the keys that differ.
    """
    expected, name = contract, "the given contract"
    for source in sources:
        try:
            present = Contract.from_dict(source.episode["contract"])
        except (KeyError, ContractError) as error:
            raise BuildError(f"{source.folder} carries no valid contract: {error}") from error
        if expected is None:
            expected, name = present, source.folder.name
        elif differences := contract_difference(expected, present, latencies=contract is None):
            hint = ""
            if not contract_difference(expected, present, latencies=False):
                hint = "\nonly latencies differ: say whose hold for all bags (--cell)"
            lines = "\n  ".join(differences)
            raise BuildError(f"{source.folder} was recorded under another contract than {name}:\n  {lines}{hint}")
    assert expected is not None
    return expected


def _rejection(source: _Source, outcomes: Sequence[str], verdicts: Sequence[str]) -> str:
    if source.episode["outcome"] not in outcomes:
        return f"outcome {source.episode['outcome']}"
    if source.episode.get("state") != "closed":
        return "recording was not closed"
    if source.episode.get("verdict") in verdicts:
        reasons = "; ".join(source.episode.get("reasons", []))
        return f"verdict {source.episode['verdict']}" + (f": {reasons}" if reasons else "")
    return ""


def _admit(
    source: _Source, aligned: AlignedEpisode, min_valid_share: float, reused: bool, contract: Contract
) -> EpisodeRow:
    if not len(aligned):
        return source.row(rejected=f"no valid instant: {'; '.join(aligned.problems) or 'streams do not overlap'}")
    if aligned.valid_share < min_valid_share:
        reasons = "; ".join(aligned.problems)
        return source.row(rejected=f"only {aligned.valid_share:.0%} valid: {reasons}", valid_share=aligned.valid_share)
    duration_s = len(aligned) / contract.action.rate_hz
    return source.row(steps=len(aligned), duration_s=duration_s, valid_share=aligned.valid_share, reused=reused)


class _Previous:
    """Episodes of the store that is being replaced, by the hash of their bag."""

    def __init__(self, path: Path, contract: Contract) -> None:
        self._store: EpisodeStore | None = None
        try:
            store = open_store(path)
        except (StoreError, ValueError, TypeError):
            # Absent, unfinished or of an older layout: nothing to reuse.
            return
        if store.contract_hash == contract.hash and store.builder_version == BUILDER_VERSION:
            self._store = store
            self._index = {entry.sha256: index for index, entry in enumerate(store.episodes)}

    def find(self, sha256: str) -> AlignedEpisode | None:
        """The episode of that bag, or None."""
        if self._store is None or sha256 not in self._index:
            return None
        return self._store.read_episode(self._index[sha256])


def _aligned(
    sources: Sequence[_Source], contract: Contract, previous: _Previous, workers: int
) -> Iterator[tuple[_Source, str, AlignedEpisode, bool]]:
    """Aligned episodes in the order of ``sources``; at most a few finished ones wait for their turn."""
    hashed = [(source, BagReader(source.folder).sha256()) for source in sources]
    if workers <= 1:
        for source, sha256 in hashed:
            known = previous.find(sha256)
            aligned = known if known is not None else _align(source.folder, contract)
            yield source, sha256, aligned, known is not None
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: list[tuple[_Source, str, AlignedEpisode | Future[AlignedEpisode]]] = []
        for source, sha256 in hashed:
            waiting.append((source, sha256, previous.find(sha256) or pool.submit(_align, source.folder, contract)))
            if len(waiting) > 2 * workers:
                yield _resolve(*waiting.pop(0))
        while waiting:
            yield _resolve(*waiting.pop(0))


def _resolve(
    source: _Source, sha256: str, pending: AlignedEpisode | Future[AlignedEpisode]
) -> tuple[_Source, str, AlignedEpisode, bool]:
    if isinstance(pending, Future):
        return source, sha256, pending.result(), False
    return source, sha256, pending, True


def _align(folder: Path, contract: Contract) -> AlignedEpisode:
    bag = BagReader(folder)
    try:
        return align_bag(bag, contract)
    except (ValueError, LookupError) as error:
        if isinstance(error, BagError):
            raise
        raise BagError(f"{folder}: {error}") from error
