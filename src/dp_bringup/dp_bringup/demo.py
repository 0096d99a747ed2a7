"""The whole loop: record, build, train, deploy, report. Each stage is skipped when the run's state says it is done."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dp_core.contract import load_contract

from dp_bringup.delivery import count_delivery
from dp_bringup.demo_plan import DemoPlan, DemoState
from dp_bringup.episodes import EpisodeResult
from dp_bringup.errors import CommandError
from dp_bringup.processes import ProcessGroup
from dp_bringup.progress import Stage, StagePlan, bar
from dp_bringup.report import write_report
from dp_bringup.stages import evaluate_policy, record_demonstrations
from dp_bringup.summary import describe_episodes

# Wall time on two cores, for the forecast only: s per demonstration, bag, optimiser step and scored episode.
RECORD_S, BUILD_S, TRAIN_S, EVALUATE_S, REPORT_S = 2.5, 0.2, 0.19, 9.5, 25.0
GRAPH_START_S = 6.0


class Demo:
    """A run of the loop in `state.folder`."""

    def __init__(self, state: DemoState) -> None:
        self.state = state
        self.plan: DemoPlan = state.plan
        folder = state.folder
        self.recordings = folder / "demonstrations"
        self.store = folder / f"{self.plan.task}.zarr"
        self.training = folder / "train"
        self.checkpoint = folder / "checkpoint"
        self.rollouts = folder / "rollouts"
        self.report = folder / "report.html"

    def run(self) -> None:
        """Do what is not done yet."""
        plan = self.plan
        load_contract(plan.cell)
        stages = {
            "record": (f"record {plan.demonstrations} demonstrations of {plan.task}", self._record),
            "build": ("build the training store from the bags", self._build),
            "train": (f"train the {plan.policy} policy for {plan.steps} steps", self._train),
            "evaluate": (f"deploy on {plan.episodes} unseen starts in real time", self._evaluate),
            "report": ("write the report", self._report),
        }
        expected = {
            "record": GRAPH_START_S + RECORD_S * plan.demonstrations,
            "build": 4 + BUILD_S * plan.demonstrations,
            "train": 8 + TRAIN_S * plan.steps,
            "evaluate": GRAPH_START_S + EVALUATE_S * plan.episodes,
            "report": REPORT_S,
        }
        shown = StagePlan([Stage(name, what, expected[name]) for name, (what, _) in stages.items()], self.state.stages)
        print(f"run folder: {self.state.folder}")
        shown.announce()
        for name, (_, work) in stages.items():
            if name in self.state.stages:
                continue
            shown.begin(name)
            started = time.monotonic()
            try:
                work()
            finally:
                self.state.wall_s += time.monotonic() - started
                self.state.save()
            self.state.stages[name] = shown.end(name)
            self.state.save()

    def _record(self) -> None:
        done = self.state.demonstrations
        seeds = self.plan.demonstration_seeds[len(done) :]
        with bar(self.plan.demonstrations, "record", "episode", initial=len(done)) as shown:

            def on_episode(result: EpisodeResult) -> None:
                done.append(result)
                self.state.save()
                shown.set_postfix(success=f"{sum(r.success for r in done)}/{len(done)}", refresh=False)
                shown.update()

            folder = self.state.folder / "record"
            record_demonstrations(folder, self.recordings, self.plan.cell, self.plan.task, seeds, on_episode)
        print(describe_episodes(done))
        self._print_delivery(done)

    def _build(self) -> None:
        command = ["dataset", "build", self.recordings, "--out", self.store, "--cell", self.plan.cell]
        self._dp("build", [*command, "--json", self.state.folder / "build.json"])

    def _train(self) -> None:
        plan = self.plan
        resume = any((self.training / "checkpoints").glob("step_*"))
        if not resume:
            shutil.rmtree(self.training, ignore_errors=True)
        command = ["train", self.store, "--out", self.training, "--policy", plan.policy, "--steps", plan.steps]
        figures = self.state.folder / "train.json"
        self._dp("train", [*command, "--seed", plan.seed, "--json", figures, *(["--resume"] if resume else [])])
        target = Path(json.loads(figures.read_text())["summary"]["checkpoint"]).resolve()
        self.checkpoint.unlink(missing_ok=True)
        self.checkpoint.symlink_to(target.relative_to(self.state.folder))

    def _evaluate(self) -> None:
        done = self.state.evaluations
        seeds = self.plan.evaluation_seeds[len(done) :]
        with bar(self.plan.episodes, "deploy", "episode", initial=len(done)) as shown:

            def on_episode(result: EpisodeResult) -> None:
                done.append(result)
                self.state.save()
                shown.set_postfix(success=f"{sum(r.success for r in done)}/{len(done)}", refresh=False)
                shown.update()

            folder = self.state.folder / "evaluate"
            cell, task = self.plan.cell, self.plan.task
            evaluate_policy(folder, self.rollouts, cell, task, self.checkpoint, seeds, on_episode)
        print(describe_episodes(done))
        self._print_delivery(done)

    def _report(self) -> None:
        write_report(self.state, self.training, self.report)
        print(f"report: {self.report}")

    def _dp(self, name: str, arguments: Sequence[object]) -> None:
        """Run another command of ours in its own process, with its progress bar on this terminal."""
        command = [sys.executable, "-m", "dp_bringup.cli", *map(str, arguments)]
        with ProcessGroup(self.state.folder / name) as group:
            status = group.wait(group.start(name, command, to_terminal=True))
        if status != 0:
            raise CommandError(f"stage {name} failed with status {status}; continue with --resume {self.state.folder}")

    def _print_delivery(self, results: Sequence[EpisodeResult]) -> None:
        streams = count_delivery(Path(result.path) for result in results)
        sent, lost = sum(s.published for s in streams), sum(s.lost + s.dropped for s in streams)
        print(f"recorded {sent - lost} of {sent} published messages on {len(streams)} streams, {lost} lost")
