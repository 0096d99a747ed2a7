"""The long operation itself: the real graph of `dp up deploy` in real time, episode after episode."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from dp_core.contract import Contract, load_contract
from dp_dataset.bag_reader import BagReader
from dp_sim.task import load_task

from dp_bringup.delivery import StreamDelivery, count_delivery
from dp_bringup.episodes import FIRST_EVALUATION_SEED, EpisodeResult, EpisodeRunner
from dp_bringup.graph import build_graph
from dp_bringup.ledger import CHUNK_TOPIC, LEDGER_TOPIC, REPORT_TOPIC, ChunkLedger
from dp_bringup.processes import ProcessDiedError, ProcessGroup
from dp_bringup.session import CellSession, SessionError
from dp_bringup.soak.diagnostics_watch import DiagnosticsWatch
from dp_bringup.soak.episode_audit import EpisodeAudit, audit_episode
from dp_bringup.soak.process_samples import ProcessSample, ProcessSampler

#: So many episodes that could not be run one after the other end the operation.
PATIENCE = 3
#: The graph may take this long to come up.
START_S = 180.0
Progress = Callable[[float, int], None]


@dataclass(frozen=True)
class SoakSettings:
    """What to run.

    Attributes:
        checkpoint: folder of the trained policy.
        minutes: how long; the episode under way is finished.
        cell: name or path of the contract.
        task: of the simulated cell.
        seed: offset into the seeds kept for evaluation.
        keep: keep all recordings, not only those of episodes in which something was amiss.
    """

    checkpoint: Path
    minutes: float
    cell: str = "sim_franka"
    task: str = "place"
    seed: int = 0
    keep: bool = False


@dataclass
class SoakRecord:
    """What was seen; filled while the operation runs, so that an early end leaves what there was.

    Attributes:
        episodes: result and audit of each.
        interruptions: what ended an episode, or the operation, that should not have.
        samples: of the processes.
        diagnostics: what the nodes said.
        ledger: of all chunks.
        streams: messages published, received and lost by topic.
        operated_s: wall time from the first episode's beginning to the last one's end.
        ended_early: why the operation did not last as long as was asked for; empty when it did.
    """

    episodes: list[tuple[EpisodeResult, EpisodeAudit]] = field(default_factory=list)
    interruptions: list[str] = field(default_factory=list)
    samples: list[ProcessSample] = field(default_factory=list)
    diagnostics: DiagnosticsWatch = field(default_factory=DiagnosticsWatch)
    ledger: ChunkLedger = field(default_factory=ChunkLedger)
    streams: dict[str, StreamDelivery] = field(default_factory=dict)
    operated_s: float = 0.0
    ended_early: str = ""


def operate(settings: SoakSettings, folder: Path, record: SoakRecord, on_progress: Progress) -> None:
    """Run episodes for the time asked for, or until Ctrl-C; `record` has the outcome in any case.

    Args:
        settings: what to run.
        folder: receives logs, node parameters, samples and recordings.
        record: filled.
        on_progress: called after each episode with the seconds operated and the number of episodes.
    """
    contract = load_contract(settings.cell)
    load_task(settings.task)  # an unknown task is refused before anything starts
    recordings = folder / "recordings"
    nodes = build_graph(
        "deploy",
        cell=settings.cell,
        task=settings.task,
        seed=FIRST_EVALUATION_SEED + settings.seed,
        record_dir=recordings,
        checkpoint=settings.checkpoint,
        teleop="false",
    )
    try:
        with ProcessGroup(folder) as group:
            group.start_graph(nodes)
            leaders = {child.name: child.process.pid for child in group.children}
            with CellSession(group, contract) as session:
                session.wait_until_ready(START_S)
                session.wait_for_policy(START_S)
                record.diagnostics.listen(session)
                sampler = ProcessSampler(leaders, folder / "samples.jsonl")
                record.samples = sampler.samples
                with sampler, (folder / "episodes.jsonl").open("w", encoding="utf-8") as log:
                    for line in _episodes(settings, contract, session, record, on_progress):
                        log.write(json.dumps(line) + "\n")
                        log.flush()
    except KeyboardInterrupt:
        record.ended_early = "ended by Ctrl-C"
    except ProcessDiedError as error:
        record.interruptions.append(str(error))
        record.ended_early = "a process ended"


def _episodes(
    settings: SoakSettings, contract: Contract, session: CellSession, record: SoakRecord, on_progress: Progress
) -> Iterator[dict[str, object]]:
    """Run the episodes; yields a row for each one that came to its end."""
    runner = EpisodeRunner(session, settings.task)
    begun, in_vain = time.monotonic(), 0
    seed = FIRST_EVALUATION_SEED + settings.seed
    while record.operated_s < 60.0 * settings.minutes and in_vain < PATIENCE:
        try:
            result = runner.evaluate(seed)
        except SessionError as error:
            record.interruptions.append(f"seed {seed}: {error}")
            in_vain += 1
        else:
            in_vain = 0
            audit = add_recording(record, result, contract, settings.keep)
            yield {**result.row(), **asdict(audit)}
        seed += 1
        record.operated_s = time.monotonic() - begun
        on_progress(record.operated_s, len(record.episodes))
    if in_vain == PATIENCE:
        record.ended_early = f"{PATIENCE} episodes in succession could not be run"


def add_recording(record: SoakRecord, result: EpisodeResult, contract: Contract, keep: bool) -> EpisodeAudit:
    """Judge the recording of an episode, and remove it unless something was amiss."""
    folder = Path(result.path)
    by_topic: dict[str, list] = {name: [] for name in (CHUNK_TOPIC, REPORT_TOPIC, LEDGER_TOPIC)}
    bag = BagReader(folder)
    command_topic = bag.topic_name(contract.streams["command"].topic) or ""
    by_topic[command_topic] = []
    for item in bag.read(by_topic.keys() & set(bag.topics)):
        by_topic[item.topic].append(item.message)
    add = record.ledger.add_chunk, record.ledger.add_report, record.ledger.add_ledger
    for topic, take in zip((CHUNK_TOPIC, REPORT_TOPIC, LEDGER_TOPIC), add, strict=True):
        for message in by_topic[topic]:
            take(folder.name, message)
    audit = audit_episode(
        by_topic[command_topic],
        by_topic[CHUNK_TOPIC],
        by_topic[REPORT_TOPIC],
        contract.action.latency_s,
        1.0 / contract.control.rate_hz,
    )
    record.episodes.append((result, audit))
    lost = _count_messages(record.streams, folder)
    amiss = lost or audit.missed or any(not hold.explanation for hold in audit.holds)
    if not (keep or amiss):
        shutil.rmtree(folder)
    return audit


def _count_messages(streams: dict[str, StreamDelivery], folder: Path) -> int:
    """Add an episode's counts; returns how many messages it lost."""
    lost = 0
    for own in count_delivery([folder]):
        known = streams.setdefault(own.topic, StreamDelivery(own.topic))
        for name in ("published", "received", "lost", "dropped", "missing_stamps"):
            setattr(known, name, getattr(known, name) + getattr(own, name))
        lost += own.lost + own.dropped
    return lost
