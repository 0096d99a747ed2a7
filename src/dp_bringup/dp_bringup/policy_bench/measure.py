"""Runs the subjects in turns, so that whatever else the machine does hits all of them, and makes rows of figures."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
from dp_benchmark.policies import PUBLISHED

from dp_bringup.policy_bench.cases import DDIM_STEPS, MOST_FEW_STEPS, Network
from dp_bringup.policy_bench.subject import Subject, SubjectProcess
from dp_bringup.policy_bench.ways import ChunkTime

Row = dict[str, Any]
OnTurn = Callable[[str], None]
OnRows = Callable[[list[Row]], None]
PARTS = ("encode", "denoise", "overhead", "total", "cpu")
#: The case that few-step cases are compared with too: the paper's own.
BASELINE_STEPS = DDIM_STEPS[0]
BASELINE = "baseline"


@dataclass(frozen=True)
class Timing:
    """How long is measured.

    Attributes:
        rounds: turns of each subject in each case.
        seconds: of a turn, at least.
        least: chunks of a turn, at least.
        threads: numbers of processor threads, each measured by itself.
        runtime: of the engine.
    """

    rounds: int = 8
    seconds: float = 1.0
    least: int = 2
    threads: tuple[int, ...] = (1, 2)
    runtime: str = "auto"

    def turns(self, networks: Sequence[Network]) -> int:
        """Number of turns in all, one of each case."""
        return self.rounds * len(self.threads) * sum(len(network.steps) for network in networks)


def measure(networks: Sequence[Network], timing: Timing, on_turn: OnTurn, on_rows: OnRows) -> list[Row]:
    """Measure every network with every number of evaluations: two rows each, as published and fast.

    Args:
        networks: what to run; those of one name are of one size.
        timing: for how long.
        on_turn: called after each turn with what was measured.
        on_rows: called after each network with all rows so far, so that they can be kept.

    Raises:
        CommandError: a subject could not do its part.
    """
    rows: list[Row] = []
    for threads in timing.threads:
        for name in dict.fromkeys(network.name for network in networks):
            same_size = [network for network in networks if network.name == name]
            with ExitStack() as stack:
                baseline = _start_baseline(same_size, threads, stack)
                for network in same_size:
                    rows += _measure_network(network, threads, timing, baseline, on_turn)
                    on_rows(rows)
    return rows


def _start_baseline(networks: Sequence[Network], threads: int, stack: ExitStack) -> SubjectProcess | None:
    """The paper's case of this size as published, for the ratio of the few-step cases; None if there is none."""
    found = [one for one in networks if one.method == "diffusion" and BASELINE_STEPS in one.steps]
    if not found or not any(_is_few(steps) for network in networks for steps in network.steps):
        return None
    baseline = stack.enter_context(SubjectProcess(Subject(found[0].folder, PUBLISHED, threads)))
    baseline.ask("prepare", found[0].sampling(BASELINE_STEPS))
    return baseline


def _is_few(steps: int | None) -> bool:
    return steps is not None and steps <= MOST_FEW_STEPS


def _measure_network(
    network: Network, threads: int, timing: Timing, baseline: SubjectProcess | None, on_turn: OnTurn
) -> list[Row]:
    rows = []
    for steps in network.steps:
        case = {
            "network": network.name,
            "sampler": network.case_name(steps),
            "evaluations": steps,
            "threads": threads,
        }
        with ExitStack() as stack:  # fresh ones in each case: memory is that of one policy, its peak no earlier case's
            subjects = {
                name: stack.enter_context(SubjectProcess(Subject(network.folder, name, threads)))
                for name in (PUBLISHED, timing.runtime)
            }
            # One after the other: the engine measures when it is built.
            chosen = {name: subject.ask("prepare", network.sampling(steps)) for name, subject in subjects.items()}
            beside = baseline if _is_few(steps) else None
            measured = _measure_case(subjects, beside, timing, functools.partial(on_turn, _text(case)))
            rows += [{**case, "runtime": name, "chosen": chosen[name], **row} for name, row in measured.items()]
    return rows


def _text(case: Row) -> str:
    return f"{case['network']} {case['sampler']}, threads: {case['threads']}"


def _measure_case(
    subjects: dict[str, SubjectProcess], baseline: SubjectProcess | None, timing: Timing, on_turn: Callable[[], None]
) -> dict[str, Row]:
    """Figures of both ways; those of the engine with the comparison."""
    chunks = {name: subject.ask("chunks") for name, subject in subjects.items()}
    timed = {**subjects, **({BASELINE: baseline} if baseline else {})}
    rounds: dict[str, list[list[ChunkTime]]] = {name: [] for name in timed}
    for number in range(timing.rounds + 1):
        for name, subject in timed.items():
            times = subject.ask("time", timing.seconds if number else 0.0, timing.least if number else 1)
            if number:  # the first turn fills caches
                rounds[name].append(times)
        if number:
            on_turn()
    rows = {name: {**_figures(rounds[name]), **subject.ask("memory")} for name, subject in subjects.items()}
    difference = np.abs(chunks[PUBLISHED] - chunks[timing.runtime])
    ours = rounds[timing.runtime]
    rows[timing.runtime] |= {
        "speedup": _ratio(rounds[PUBLISHED], ours, "total_ms"),
        "speedup_cpu": _ratio(rounds[PUBLISHED], ours, "cpu_ms"),
        "speedup_over_ddim16": _ratio(rounds[BASELINE], ours, "total_ms") if baseline else None,
        "speedup_over_ddim16_cpu": _ratio(rounds[BASELINE], ours, "cpu_ms") if baseline else None,
        "max_abs_difference": float(difference.max()),
        "rms_difference": float(np.sqrt(np.square(difference).mean())),
    }
    return rows


def _figures(rounds: Sequence[Sequence[ChunkTime]]) -> Row:
    """Medians and 99th percentiles over all chunks, milliseconds."""
    chunks = [chunk for turn in rounds for chunk in turn]
    figures: Row = {"chunks": len(chunks)}
    for part in PARTS:
        median, high = np.percentile([getattr(chunk, f"{part}_ms") for chunk in chunks], (50.0, 99.0))
        figures |= {f"{part}_ms_p50": float(median), f"{part}_ms_p99": float(high)}
    return figures


def _ratio(slow: Sequence[Sequence[ChunkTime]], fast: Sequence[Sequence[ChunkTime]], figure: str) -> float:
    """Median over the rounds of the ratio of the medians within a round."""

    def medians(rounds: Sequence[Sequence[ChunkTime]]) -> np.ndarray:
        return np.array([np.median([getattr(chunk, figure) for chunk in turn]) for turn in rounds])

    return float(np.median(medians(slow) / medians(fast)))


def summarise(rows: Sequence[Row]) -> Row:
    """Speed-ups of the paper's size (or of the checkpoint) on one thread, and the largest difference of all cases.

    The few-step figure is the smallest of all cases of two to four evaluations, against 16 evaluations as published.
    """
    fast = [row for row in rows if "speedup" in row]
    first = [row for row in fast if row["network"] == rows[0]["network"] and row["threads"] == 1]
    paper = [row["speedup"] for row in first if row["sampler"] == f"DDIM {BASELINE_STEPS}"]
    few = [row["speedup_over_ddim16"] for row in first if row["speedup_over_ddim16"] is not None]
    return {
        "speedup_ddim16_1thread": paper[0] if paper else None,
        "speedup_few_step_1thread": min(few, default=None),
        "max_abs_difference": max(row["max_abs_difference"] for row in fast),
    }
