"""Whether a soak kept its limits, and the figures that say so. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dp_bringup.delivery import messages_lost
from dp_bringup.ledger import age_figures
from dp_bringup.soak.diagnostics_watch import INFERENCE, MODE
from dp_bringup.soak.memory_growth import ProcessGrowth, process_growth
from dp_bringup.soak.operation import SoakRecord
from dp_bringup.summary import episode_figures

#: A process grows when its slope over the second half is above the first and makes up more than the second: a leak of
#: 20 MiB/h would fill 8 GiB in two weeks; 4 MiB is about what an allocator takes and gives back.
GROWTH_MIB_PER_H, GROWTH_MIB = 20.0, 4.0
#: Nodes open what they need when they start; a file or two may be opened once, late. A leak of one in each episode is
#: some thirty in a quarter of half an hour.
GROWTH_THREADS, GROWTH_FILES = 0, 2
MISSED_SHARE = 0.001
#: Memory that was not looked at to the end (its log found no room, say) is not known not to have grown.
SAMPLED_SHARE = 0.9
#: Slower than this the simulated cell left policy and control more time than a real one would.
REAL_TIME_FACTOR = 0.98


@dataclass(frozen=True)
class Judgement:
    """One limit.

    Attributes:
        what: is limited.
        measured: as text.
        limit: as text.
        kept: True when the measured value is within the limit.
    """

    what: str
    measured: str
    limit: str
    kept: bool


def grows(growth: ProcessGrowth) -> bool:
    """True when the memory of a process broke the limit."""
    return growth.growth_mib_per_h > GROWTH_MIB_PER_H and growth.growth_mib > GROWTH_MIB


def soak_figures(record: SoakRecord) -> dict[str, Any]:
    """The summary of a soak, as in its JSON."""
    growths = process_growth(record.samples)
    audits = [audit for _, audit in record.episodes]
    results = [result for result, _ in record.episodes]
    deadlines, missed = sum(a.deadlines for a in audits), [late for a in audits for late in a.missed]
    holds = [hold for audit in audits for hold in audit.holds]
    ledger, diagnostics, episodes = record.ledger.summary(), record.diagnostics, episode_figures(results)
    chunks = sum(audit.chunks for audit in audits)
    return {
        "minutes": record.operated_s / 60.0,
        "policy_minutes": sum(audit.policy_s for audit in audits) / 60.0,
        "ended_early": record.ended_early,
        "episodes": len(results),
        "success": episodes["success"],
        "real_time_factor": episodes["real_time_factor"],
        "sampled_minutes": max((sample.t_s for sample in record.samples), default=0.0) / 60.0,
        "growing_processes": [growth.process for growth in growths if grows(growth)],
        "memory_growth_mib_per_h": max((growth.growth_mib_per_h for growth in growths), default=None),
        "memory_growth_mib": max((growth.growth_mib for growth in growths), default=None),
        "thread_growth": {g.process: g.threads_growth for g in growths if g.threads_growth > GROWTH_THREADS},
        "file_growth": {g.process: g.files_growth for g in growths if g.files_growth > GROWTH_FILES},
        "chunks": chunks,
        "deadlines": deadlines,
        "missed_deadlines": len(missed),
        "missed_deadline_share": len(missed) / deadlines if deadlines else None,
        "missed_by_s_max": max(missed, default=0.0),
        "after_committed_actions": sum(audit.overdue for audit in audits),
        "holds": dict(Counter(hold.explanation or "unexplained" for hold in holds)),
        "unexplained_holds": sum(not hold.explanation for hold in holds),
        "interruptions": len(record.interruptions),
        "messages_lost": messages_lost(record.streams.values()),
        "messages_published": sum(stream.published for stream in record.streams.values()),
        "control_cycles": sum(audit.cycles for audit in audits),
        "control_overruns": sum(audit.overruns for audit in audits),
        "control_skipped": sum(audit.skipped for audit in audits),
        "control_restarts_from_rest": diagnostics.counted(MODE, "restarts from rest"),
        "inference_ms_max": diagnostics.worst(INFERENCE, "inference_ms"),
        **age_figures(ledger),
        "ledger": ledger,
    }


def judge(figures: dict[str, Any], asked_minutes: float) -> list[Judgement]:
    """Hold the figures of a soak against the limits."""
    share = figures["missed_deadline_share"]
    growing = ", ".join(figures["growing_processes"])
    most = figures["memory_growth_mib_per_h"]
    factor = figures["real_time_factor"]
    watched = most is not None and figures["sampled_minutes"] >= SAMPLED_SHARE * figures["minutes"]
    unwatched = f"measured for {figures['sampled_minutes']:.1f} min only"
    return [
        Judgement(
            "memory of each process, second half",
            growing or (f"at most {most:+.1f} MiB/h" if watched else unwatched),
            f"<= {GROWTH_MIB_PER_H:g} MiB/h, or {GROWTH_MIB:g} MiB in all",
            watched and not growing,
        ),
        _growth_of("threads", figures["thread_growth"], GROWTH_THREADS, unwatched if not watched else ""),
        _growth_of("open files", figures["file_growth"], GROWTH_FILES, unwatched if not watched else ""),
        Judgement(
            "missed deadlines",
            "no chunks" if share is None else f"{figures['missed_deadlines']} of {figures['deadlines']} = {share:.3%}",
            f"< {MISSED_SHARE:.1%}",
            share is not None and share < MISSED_SHARE,
        ),
        _none_of("unexplained holds", figures["unexplained_holds"]),
        _none_of("episodes or processes that broke off", figures["interruptions"]),
        Judgement("real-time factor", f"{factor:.3f}", f">= {REAL_TIME_FACTOR:g}", factor >= REAL_TIME_FACTOR),
        Judgement(
            "duration",
            f"{figures['minutes']:.1f} min" + (f" ({figures['ended_early']})" if figures["ended_early"] else ""),
            f">= {asked_minutes:g} min",
            figures["minutes"] >= asked_minutes,
        ),
    ]


def _growth_of(what: str, growing: dict[str, int], most: int, unwatched: str) -> Judgement:
    text = ", ".join(f"{process} +{count}" for process, count in growing.items())
    return Judgement(
        f"{what} of each process, second half",
        text or unwatched or f"at most +{most}",
        f"<= +{most}",
        not growing and not unwatched,
    )


def _none_of(what: str, count: int) -> Judgement:
    return Judgement(what, str(count), "0", count == 0)


def soak_rows(record: SoakRecord) -> list[dict[str, Any]]:
    """Rows of the JSON: processes, episodes, holds, interruptions, streams."""
    rows: list[dict[str, Any]] = [{"part": "process", **asdict(growth)} for growth in process_growth(record.samples)]
    for result, audit in record.episodes:
        punctuality = {key: value for key, value in asdict(audit).items() if key != "holds"}
        rows.append({"part": "episode", **result.row(), **punctuality})
        rows += [{"part": "hold", "seed": result.seed, **asdict(hold)} for hold in audit.holds]
    rows += [{"part": "interruption", "text": text} for text in record.interruptions]
    rows += [{"part": "stream", **asdict(stream)} for stream in record.streams.values()]
    warnings = record.diagnostics.warnings
    return rows + [{"part": "warning", "text": text, "seconds": count} for text, count in warnings.items()]


def unexplained(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each hold that should not have been, and for each interruption."""
    holds = [row for row in rows if row["part"] == "hold" and not row["explanation"]]
    lines = [
        f"seed {row['seed']}, {row['begin_s']:.2f} s: held for {row['duration_s']:.2f} s in {row['mode']}: "
        f"{row['text'] or 'no reason given'}"
        for row in holds
    ]
    return lines + [f"broke off: {row['text']}" for row in rows if row["part"] == "interruption"]
