from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
from pathlib import Path

import pytest
import torch
from dp_policy.checkpoint import CheckpointError
from dp_policy.config import PolicyConfig
from dp_trainer.figures import FigureError
from dp_trainer.run_folder import (
    RunFolder,
    RunFolderError,
    best_checkpoints,
    checkpoint_folders,
    read_training_state,
)

CONFIG = PolicyConfig.from_dict({"name": "test", "training": {"top_k": 2}})


def write(folder: RunFolder, step: int) -> None:
    folder.write_checkpoint(step, {"w": torch.ones(1)}, CONFIG, {}, {}, {"m": torch.full((1,), float(step))})


def test_newest_state_is_read_and_old_ones_are_dropped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, CONFIG)
    for step in (5, 10, 200):
        write(folder, step)
    folder.close()
    assert [path.name for path in checkpoint_folders(tmp_path)] == ["step_0000010", "step_0000200"]
    step, tensors, place = read_training_state(tmp_path)
    assert (step, float(tensors["m"]), place.name) == (200, 200.0, "step_0000200")


def test_a_half_written_checkpoint_is_not_seen(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, CONFIG)
    write(folder, 5)
    (tmp_path / "checkpoints" / ".step_0000010.1.new").mkdir()
    assert read_training_state(tmp_path)[0] == 5
    (tmp_path / "checkpoints" / "step_0000005" / "training.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"training\.safetensors is missing"):
        read_training_state(tmp_path)


def test_figures_after_the_resumed_step_are_cut(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, CONFIG)
    for step in range(4):
        folder.write_figures(step, {"loss": float(step)})
    folder.close()
    with (tmp_path / "losses.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # cut off by a kill
    folder = RunFolder(tmp_path, CONFIG, start_step=2)
    folder.write_figures(2, {"loss": 9.0})
    folder.close()
    lines = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(0, 0.0), (1, 1.0), (2, 9.0)]
    assert (tmp_path / "config.yaml").is_file()
    assert any((tmp_path / "tensorboard").iterdir())


def score(folder: RunFolder, step: int, error: float) -> Path | None:
    provenance = {"steps": step, "validation": {"action_error": error}}
    return folder.write_best(step, error, {"w": torch.full((1,), error)}, CONFIG, {}, provenance)


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_the_best_are_kept_and_linked(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, CONFIG)
    link = tmp_path / "checkpoints" / "best"
    seen = []
    for step, error in ((10, 0.5), (20, 0.3), (30, 0.4), (40, 0.9), (50, float("nan")), (60, 0.1)):
        score(folder, step, error)
        seen.append((names(best_checkpoints(tmp_path)), link.resolve().name))
    folder.close()
    assert seen == [
        (["best_0000010"], "best_0000010"),
        (["best_0000020", "best_0000010"], "best_0000020"),
        (["best_0000020", "best_0000030"], "best_0000020"),
        (["best_0000020", "best_0000030"], "best_0000020"),
        (["best_0000020", "best_0000030"], "best_0000020"),
        (["best_0000060", "best_0000020"], "best_0000060"),
    ]
    assert not (link / "training.safetensors").exists()  # to deploy, not to resume


def test_going_on_forgets_the_best_of_steps_that_come_again(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, CONFIG)
    score(folder, 10, 0.5)
    write(folder, 15)
    score(folder, 20, 0.3)
    folder.close()
    RunFolder(tmp_path, CONFIG, start_step=15).close()
    assert names(best_checkpoints(tmp_path)) == ["best_0000010"]
    assert (tmp_path / "checkpoints" / "best").resolve().name == "best_0000010"


def test_last_is_linked_and_older_ones_are_kept_without_their_state(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, CONFIG.with_training(kept_checkpoints=3))
    for step in (5, 10, 15, 20):
        write(folder, step)
    folder.close()
    kept = checkpoint_folders(tmp_path)
    assert names(kept) == ["step_0000010", "step_0000015", "step_0000020"]
    assert [(path / "training.safetensors").is_file() for path in kept] == [False, True, True]
    assert all((path / "model.safetensors").is_file() for path in kept)
    assert (tmp_path / "checkpoints" / "last").resolve() == kept[-1].resolve()


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, CONFIG)
    write(folder, 5)
    folder.close()
    newest = checkpoint_folders(tmp_path)[-1]
    (newest / "training.json").write_text('{"step": 5}')
    with pytest.raises(CheckpointError, match="training state has version 1, this software resumes version 2"):
        read_training_state(tmp_path)
    info = json.loads((newest / "checkpoint.json").read_text())
    (newest / "checkpoint.json").write_text(json.dumps({**info, "version": 99}))
    with pytest.raises(CheckpointError, match="checkpoint version 99"):
        read_training_state(tmp_path)
    (newest / "checkpoint.json").write_text(json.dumps(info))
    (newest / "training.json").write_text('{"version": 2, "step": 5}')
    (newest / "training.safetensors").write_bytes(b"cut off")
    with pytest.raises(CheckpointError, match="damaged"):
        read_training_state(tmp_path)


def _fill_up(folder: Path, report: Path) -> None:
    """In a process of its own, since the limit on the size of files cannot be taken back."""
    run = RunFolder(folder, CONFIG)
    write(run, 5)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    found = []
    for attempt in (
        lambda: run.write_checkpoint(9, {"w": torch.ones(9000)}, CONFIG, {}, {}, {"m": torch.ones(1)}),
        lambda: run.write_checkpoint(9, {"w": torch.ones(1)}, CONFIG, {}, {}, {"m": torch.ones(9000)}),
        lambda: run.write_best(9, 0.1, {"w": torch.ones(9000)}, CONFIG, {}, {}),
        lambda: [run.write_figures(step, {"loss": 1.0}) for step in range(9000)],
    ):
        try:
            attempt()
        except (RunFolderError, FigureError) as error:
            found.append(f"{type(error).__name__} {error}")
    run.close()
    report.write_text("\n".join(found))


def test_a_full_disk_is_explained_and_leaves_the_older_ones_whole(tmp_path: Path) -> None:
    report = tmp_path / "report.txt"
    process = multiprocessing.get_context("spawn").Process(target=_fill_up, args=(tmp_path / "run", report))
    process.start()
    process.join(240)
    assert process.exitcode == 0
    lines = report.read_text().splitlines()
    assert len(lines) == 4
    for line in lines[:3]:
        assert line.startswith("RunFolderError") and "could not be written" in line and "newest is step_0000005" in line
    assert lines[3].startswith("FigureError the figures of step")
    assert names(list((tmp_path / "run" / "checkpoints").glob("*5"))) == ["step_0000005"]
    assert not list((tmp_path / "run" / "checkpoints").glob("*9"))
    assert read_training_state(tmp_path / "run")[0] == 5


def test_what_a_killed_process_left_is_cleaned_up(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, CONFIG)
    write(folder, 5)
    folder.close()
    shutil.copytree(tmp_path / "checkpoints" / "step_0000005", tmp_path / "checkpoints" / ".step_0000010.7.new")
    RunFolder(tmp_path, CONFIG, start_step=5).close()
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["last", "step_0000005"]
