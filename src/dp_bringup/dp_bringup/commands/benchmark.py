"""`dp benchmark`: compare methods on Push-T, samplers, methods on a task with two ways, and latency compensation."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dp_bringup.commands import benchmark_latency
from dp_bringup.commands.eval import EpisodeBar, describe_pusht
from dp_bringup.errors import CommandError
from dp_bringup.results import add_json_argument, write_results

if TYPE_CHECKING:
    from dp_benchmark.comparison import ComparisonSettings, MethodRun
    from dp_benchmark.sampler_comparison import VariantRun
    from dp_policy.config import PolicyConfig

#: Policy files compared on Push-T, and methods compared on the two-way task, where each has one small network.
METHODS = "diffusion,flow,l1_flow,mip,transformer,regression,lstm_gmm,bet,ibc"
TWO_WAY_METHODS = "diffusion,flow,two_step,regression,lstm_gmm,ibc,bet"
EXAMPLES = """examples:
  dp benchmark pusht --minutes 10 --out runs/pusht_comparison
  dp benchmark pusht --minutes 10 --parallel 2 --out runs/pusht_comparison --resume
  dp benchmark pusht --methods diffusion,my_policy.yaml --steps 5000 --episodes 50 --seeds 3
  dp benchmark samplers --checkpoint runs/pusht --episodes 100 --out runs/samplers
  dp benchmark two-way --out runs/two_way
  dp benchmark latency --checkpoint place=runs/latest/checkpoint --out runs/latency"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="pusht|samplers|two-way|latency")
    _configure_pusht(actions.add_parser("pusht", help="train and score policies on the human Push-T demonstrations"))
    _configure_samplers(actions.add_parser("samplers", help="every way of drawing chunks from trained checkpoints"))
    _configure_two_way(actions.add_parser("two-way", help="which methods keep two ways apart (figure)"))
    what = "what added inference latency costs on the simulated cell, by ways to execute chunks (table, figure)"
    benchmark_latency.configure(actions.add_parser("latency", help=what))


def _configure_pusht(pusht: argparse.ArgumentParser) -> None:
    pusht.add_argument("--data", type=Path, help="pusht_cchi_v7_replay.zarr (default: $DP_PUSHT_DATA or data/pusht)")
    pusht.add_argument(
        "--methods", default=METHODS, help=f"names in config/policies/pusht or YAML files (default: {METHODS})"
    )
    pusht.add_argument("--minutes", type=float, default=0.0, help="wall time of each training")
    pusht.add_argument("--steps", type=int, default=0, help="instead: optimiser steps (default: as the files say)")
    pusht.add_argument("--episodes", type=int, default=100, help="unseen starts per policy (default: 100)")
    pusht.add_argument("--seeds", type=int, default=1, help="trainings per method (default: 1)")
    pusht.add_argument("--seed", type=int, default=0, help="of the first training, and offset of the starts")
    pusht.add_argument("--workers", type=int, default=2, help="processes that play episodes (default: 2)")
    pusht.add_argument("--parallel", type=int, default=1, help="trainings at a time; above 1 with a thread each")
    pusht.add_argument("--device", default="cpu", help="torch device of the evaluation (default: cpu)")
    pusht.add_argument("--out", type=Path, help="folder of the comparison (default: a new one under runs/)")
    pusht.add_argument("--resume", action="store_true", help="continue the comparison in --out")
    add_json_argument(pusht)


def _configure_samplers(samplers: argparse.ArgumentParser) -> None:
    samplers.add_argument(
        "--checkpoint", type=Path, action="append", required=True, help="checkpoint or training run; may be repeated"
    )
    samplers.add_argument("--episodes", type=int, default=100, help="unseen starts per variant (default: 100)")
    samplers.add_argument("--seed", type=int, default=0, help="offset of the starts (default: 0)")
    samplers.add_argument("--workers", type=int, default=2, help="processes that play episodes (default: 2)")
    samplers.add_argument("--device", default="cpu", help="torch device of the policy (default: cpu)")
    samplers.add_argument("--out", type=Path, help="folder of results, continued if it holds some (default: a new one)")
    add_json_argument(samplers)


def _configure_two_way(two_way: argparse.ArgumentParser) -> None:
    two_way.add_argument("--methods", default=TWO_WAY_METHODS, help=f"of {TWO_WAY_METHODS} (default: all)")
    two_way.add_argument("--steps", type=int, help="optimiser steps per method (default: enough for the figure)")
    two_way.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    two_way.add_argument("--out", type=Path, help="folder of the figure (default: a new one under runs/)")
    add_json_argument(two_way)


def run(args: argparse.Namespace) -> int:
    """Run the chosen benchmark."""
    actions = {"pusht": _run_pusht, "samplers": _run_samplers, "two-way": _run_two_way}
    return {**actions, "latency": benchmark_latency.run}[args.action](args)


def _run_pusht(args: argparse.Namespace) -> int:
    from dp_benchmark.comparison import ComparisonSettings, open_comparison
    from dp_benchmark.demonstrations import find_demonstrations

    from dp_bringup.run_folder import new_run_folder, only_worker

    if args.resume and args.out is None:
        raise CommandError("--resume needs the folder to continue: --out FOLDER")
    _check_beforehand(args)
    policies = _read_policies(args.methods)
    settings = ComparisonSettings(
        find_demonstrations(args.data), args.minutes, args.steps, args.episodes, args.seed, args.parallel
    )
    out = args.out or new_run_folder(Path("runs"))
    runs = open_comparison(out, settings, policies, args.seeds, args.resume)
    print(f"comparison: {out}", flush=True)
    with only_worker(out):
        try:
            _run_batches(runs, settings, args.workers, args.device)
        except KeyboardInterrupt:
            print(f"\nto continue: the same command with --out {out} --resume")
            raise
        rows = _write_comparison(out, runs, settings)
    write_results(args.json, "benchmark pusht", rows, {"settings": settings.to_dict(), "folder": str(out)})
    return 0


def _check_beforehand(args: argparse.Namespace) -> None:
    """Whatever would stop the scoring or the figures, found before the hours of training."""
    from dp_benchmark.evaluation import check_evaluation
    from dp_benchmark.plots import load_pyplot

    check_evaluation(args.episodes, args.seed, args.workers, args.device)
    load_pyplot()


def _read_policies(methods: str) -> dict[str, PolicyConfig]:
    """Policies by the name that they get in the table, all checked before the first one is trained."""
    from dp_benchmark.policies import check_suits_pusht
    from dp_core.contract import config_directory
    from dp_policy.config import load_policy_config

    policies: dict[str, PolicyConfig] = {}
    for method in filter(None, (part.strip() for part in methods.split(","))):
        is_file = method.endswith((".yaml", ".yml"))
        file = Path(method) if is_file else config_directory() / "policies" / "pusht" / f"{method}.yaml"
        config = load_policy_config(file)
        check_suits_pusht(config, f"policy {method}")
        if file.stem in policies:
            raise CommandError(f"--methods names two policies {file.stem!r}")
        policies[file.stem] = config
    if not policies:
        raise CommandError(f"--methods is empty; for example: {METHODS}")
    return policies


def _run_batches(runs: list[MethodRun], settings: ComparisonSettings, workers: int, device: str) -> None:
    """Train and score the runs, as many at a time as ``settings.parallel`` says."""
    from dp_bringup.progress import Stage, StagePlan

    size = settings.parallel
    batches = [runs[start : start + size] for start in range(0, len(runs), size)]
    train_s = settings.minutes * 60.0 or 600.0
    score_s = 0.6 * settings.episodes * size
    stages, done = [], []
    for number, batch in enumerate(batches):
        names = " and ".join(f"{run.name} (seed {run.seed})" for run in batch)
        stages.append(Stage(f"train {number}", f"train {names}", train_s))
        stages.append(Stage(f"score {number}", f"score {names}", score_s))
        done += [f"train {number}"] if all(run.trained for run in batch) else []
        done += [f"score {number}"] if all(run.scored for run in batch) else []
    plan = StagePlan(stages, done)
    plan.announce()
    for number, batch in enumerate(batches):
        if not all(run.trained for run in batch):
            plan.begin(f"train {number}")
            _train_batch(batch, settings)
            plan.end(f"train {number}")
        if not all(run.scored for run in batch):
            plan.begin(f"score {number}")
            for run in batch:
                _score(run, settings, workers, device)
            plan.end(f"score {number}")


def _train_batch(batch: list[MethodRun], settings: ComparisonSettings) -> None:
    from dp_benchmark.comparison import TrainingShare, train_runs

    from dp_bringup.progress import bar

    shares = [1.0 if run.trained else 0.0 for run in batch]
    with bar(100, "train", "%") as shown:

        def on_progress(place: int, share: TrainingShare) -> None:
            shares[place] = share.step / share.steps
            shown.set_postfix({f"loss {batch[place].name}": f"{share.loss:.4f}"}, refresh=False)
            shown.update(round(100 * sum(shares) / len(shares), 1) - shown.n)

        train_runs(batch, settings, on_progress)


def _score(run: MethodRun, settings: ComparisonSettings, workers: int, device: str) -> None:
    from dp_benchmark.comparison import score_run

    with EpisodeBar(f"score {run.name}") as watcher:
        score_run(run, settings, workers, watcher, device)
    print(f"{run.name}, seed {run.seed}: {describe_pusht(run.score()['summary'])}", flush=True)


def _write_comparison(out: Path, runs: list[MethodRun], settings: ComparisonSettings) -> list[dict[str, Any]]:
    from dp_benchmark.plots import plot_comparison
    from dp_benchmark.tables import comparison_rows, comparison_table

    rows = comparison_rows(runs)
    table = comparison_table(rows)
    (out / "table.md").write_text(table, encoding="utf-8")
    write_results(out / "results.json", "benchmark pusht", rows, {"settings": settings.to_dict()})
    budget = f"{settings.minutes:g} min of training, " if settings.minutes else ""
    plot_comparison(rows, out / "comparison.png", f"Push-T: {budget}{settings.episodes} unseen starts")
    print(f"\n{table}\nwritten to {out}: table.md, results.json, comparison.png")
    return rows


def _run_samplers(args: argparse.Namespace) -> int:
    from dp_benchmark.plots import plot_samplers
    from dp_benchmark.policies import find_checkpoint
    from dp_benchmark.sampler_comparison import plan_variants, score_variants, variant_rows, variant_table

    from dp_bringup.run_folder import new_run_folder, only_worker

    _check_beforehand(args)
    checkpoints = [find_checkpoint(path) for path in args.checkpoint]
    settings = {"episodes": args.episodes, "seed": args.seed}
    out = args.out or new_run_folder(Path("runs"))
    out.mkdir(parents=True, exist_ok=True)
    with only_worker(out):
        runs = plan_variants(checkpoints, out, settings)
        print(f"samplers: {out}; {len(runs)} variants, {sum(run.scored for run in runs)} of them done", flush=True)
        with _VariantBars(runs) as bars:
            score_variants(runs, args.episodes, args.seed, args.workers, bars.next, args.device)
        rows = variant_rows(runs)
        table = variant_table(rows)
        (out / "table.md").write_text(table, encoding="utf-8")
        write_results(out / "results.json", "benchmark samplers", rows, settings)
        plot_samplers(rows, out / "samplers.png", f"Push-T, {args.episodes} unseen starts")
    print(f"\n{table}\nwritten to {out}: table.md, results.json, samplers.png")
    write_results(args.json, "benchmark samplers", rows, {**settings, "folder": str(out)})
    return 0


class _VariantBars:
    """A bar for each variant, one after the other."""

    def __init__(self, runs: list[VariantRun]) -> None:
        self._left = sum(not run.scored for run in runs)
        self._bars = contextlib.ExitStack()

    def __enter__(self) -> _VariantBars:
        return self

    def __exit__(self, *reason: object) -> None:
        self._bars.close()

    def next(self, run: VariantRun) -> EpisodeBar:
        """The bar of a variant; the one before is closed."""
        self._bars.close()
        self._left -= 1
        after = f", {self._left} more after it" if self._left else ""
        return self._bars.enter_context(EpisodeBar(f"{run.policy}: {run.sampler} {run.evaluations}{after}"))


def _run_two_way(args: argparse.Namespace) -> int:
    import torch
    from dp_benchmark.plots import load_pyplot
    from dp_benchmark.tables import markdown_table

    load_pyplot()  # says what to install where matplotlib is missing
    from dp_benchmark.two_way import TwoWayScale, run_two_way

    from dp_bringup.progress import bar
    from dp_bringup.run_folder import new_run_folder

    if args.steps is not None and args.steps < 1:
        raise CommandError(f"--steps {args.steps} is not valid; at least 1")
    methods = [part.strip() for part in args.methods.split(",") if part.strip()]
    scale = TwoWayScale(steps=args.steps) if args.steps else TwoWayScale()
    torch.set_num_threads(1)  # the networks are too small to gain from more
    out = args.out or new_run_folder(Path("runs"))
    with bar(len(methods), "two-way", "method") as shown:

        def progress(what: str, step: int, steps: int) -> None:
            method = methods.index(what.split()[-1])
            shown.set_postfix_str(what, refresh=False)
            shown.update(round(method + step / steps, 2) - shown.n)

        rows = run_two_way(out, args.seed, methods, progress, scale)
    shares = ("left", "right", "collision", "unfinished")
    cells = [(row["method"], *(f"{row[share]:.0%}" for share in shares)) for row in rows]
    print(f"\n{markdown_table(('method', *shares), cells)}\nwritten to {out}: two_way.png, two_way.json")
    write_results(args.json, "benchmark two-way", rows, {"folder": str(out), "seed": args.seed})
    return 0
