"""Scores one set of trained weights with every way of drawing chunks from it: quality and time against evaluations.

A folder of results::

    settings.json                     what all variants share
    <policy>/<sampler>_<steps>.json   figures of one finished variant
    table.md, results.json, samplers.png
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dp_policy.checkpoint import read_checkpoint_info
from dp_policy.config import SAMPLING_KEYS, PolicyConfig
from dp_policy.sampler_variants import sampler_variants

from dp_benchmark.errors import BenchmarkError
from dp_benchmark.evaluation import EvaluationWatcher, evaluate_pusht
from dp_benchmark.json_files import read_json, write_json
from dp_benchmark.policies import check_suits_pusht
from dp_benchmark.tables import markdown_table, success_text

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class VariantRun:
    """One way of drawing chunks from one checkpoint.

    Attributes:
        policy: name of the policy, unique among the checkpoints.
        checkpoint: folder.
        sampler: name for tables.
        evaluations: per chunk (NFE).
        sampling: values of the method's section that make it.
        file: where its figures go.
    """

    policy: str
    checkpoint: Path
    sampler: str
    evaluations: int
    sampling: Mapping[str, Any]
    file: Path

    @property
    def scored(self) -> bool:
        """The figures are there."""
        return self.file.is_file()


def plan_variants(checkpoints: Sequence[Path], out: Path, settings: Mapping[str, Any]) -> list[VariantRun]:
    """Every variant of every checkpoint, finished ones included.

    Args:
        checkpoints: checkpoint folders.
        out: folder of the results; if it holds some, ``settings`` must be the same.
        settings: what all variants share (``episodes``, ``seed``).

    Raises:
        BenchmarkError: no checkpoint is given, one does not fit Push-T, or the folder holds other results.
        CheckpointError: a checkpoint is missing or damaged.
    """
    if not checkpoints:
        raise BenchmarkError("no checkpoint given")
    file = out / SETTINGS_FILE
    if file.is_file() and read_json(file) != dict(settings):
        raise BenchmarkError(f"{out} holds results with {read_json(file)}, not {dict(settings)}: choose another folder")
    runs, names = [], set()
    for checkpoint in checkpoints:
        info = read_checkpoint_info(checkpoint)
        config = PolicyConfig.from_dict(info["config"])
        check_suits_pusht(config, str(checkpoint))
        name = config.name if config.name not in names else f"{config.name} {info['policy_id'][:6]}"
        names.add(name)
        folder = out / f"{config.name}-{info['policy_id'][:8]}"
        for variant in sampler_variants(config):
            place = folder / f"{variant.sampler.replace(' ', '_')}_{variant.evaluations}.json"
            sampling = _section(variant.config)
            runs.append(VariantRun(name, checkpoint, variant.sampler, variant.evaluations, sampling, place))
    write_json(file, dict(settings))
    return runs


def _section(config: PolicyConfig) -> dict[str, Any]:
    """What makes a variant: only what may change for the same weights."""
    return {key: getattr(getattr(config, config.method), key) for key in SAMPLING_KEYS[config.method]}


def score_variants(
    runs: Iterable[VariantRun],
    episodes: int,
    seed: int,
    workers: int,
    watch: Callable[[VariantRun], EvaluationWatcher] | None = None,
    device: str = "cpu",
) -> None:
    """Score every variant that is not finished yet, all on the same starts; see :func:`evaluate_pusht`."""
    for run in runs:
        if run.scored:
            continue
        watcher = watch(run) if watch else None
        score = evaluate_pusht(
            run.checkpoint, episodes, seed, workers, sampling=run.sampling, watcher=watcher, device=device
        )
        row = {"policy": run.policy, "sampler": run.sampler, **score.summary()}
        write_json(run.file, {"summary": row, "rows": [episode.row() for episode in score.episodes]})


def variant_rows(runs: Iterable[VariantRun]) -> list[dict[str, Any]]:
    """Figures of the finished variants."""
    return [read_json(run.file)["summary"] for run in runs if run.scored]


def variant_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The Markdown table of :func:`variant_rows`."""
    headers = ("policy", "sampler", "NFE", "success (95 % interval)", "mean max coverage", "score", "ms per chunk")
    cells = [
        (
            row["policy"],
            row["sampler"],
            str(row["evaluations_per_chunk"]),
            success_text(row),
            f"{row['mean_max_coverage']:.3f}",
            f"{row['score']:.3f}",
            f"{row['chunk_ms_p50']:.1f}",
        )
        for row in rows
    ]
    return markdown_table(headers, cells)
