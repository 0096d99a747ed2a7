from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch
from dp_policy.policy import Batch
from dp_trainer.batch_loader import BatchLoader
from dp_trainer.sliced_draws import slice_batch


def windows_of(step: int) -> np.ndarray:
    return step * 10 + np.arange(4)


def gather(windows: np.ndarray) -> Batch:
    numbers = torch.from_numpy(windows.astype(np.float32))
    return Batch(images={}, proprioception=numbers, actions=numbers, weights=numbers)


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order_and_in_pieces(threads: int) -> None:
    def slow_first(windows: np.ndarray) -> Batch:
        time.sleep(0.02 if windows[0] % 20 == 0 else 0.0)  # later steps are ready before earlier ones
        return gather(windows)

    with BatchLoader(windows_of, slow_first, slice_batch(4, 2, 0, 2), (3, 9), threads) as loader:
        taken = [loader.take() for _ in range(6)]
    numbers = [[piece.batch.actions.tolist() for piece in pieces] for pieces in taken]
    assert numbers == [[[s * 10, s * 10 + 1], [s * 10 + 2, s * 10 + 3]] for s in range(3, 9)]
    assert [piece.part.start for piece in taken[0]] == [0, 2]


def test_gathering_runs_beside_the_step() -> None:
    """Gathering takes 20 ms, which a step lasts as well: ahead of time it costs nothing, in turn 20 ms a step."""
    gathered = []

    def slow(windows: np.ndarray) -> Batch:
        time.sleep(0.02)
        gathered.append(int(windows[0]) // 10)
        return gather(windows)

    with BatchLoader(windows_of, slow, slice_batch(4, 1, 0, 1), (0, 11)) as loader:
        loader.take()
        waited = [loader.waiting_s]
        for step in range(1, 11):
            deadline = time.monotonic() + 20.0
            while step not in gathered:  # the step: as long as the gathering beside it takes on this machine
                assert time.monotonic() < deadline, f"batch {step} is not gathered before it is taken"
                time.sleep(0.001)
            loader.take()
            waited.append(loader.waiting_s)
    assert waited[0] > 0.01
    assert np.median(np.diff(waited)) < 0.01


def test_an_error_while_gathering_is_raised_by_take_and_threads_end() -> None:
    def fail(windows: np.ndarray) -> Batch:
        if windows[0] == 20:
            raise OSError("disk gone")
        return gather(windows)

    before = set(threading.enumerate())
    with BatchLoader(windows_of, fail, slice_batch(4, 1, 0, 1), (0, 9)) as loader:
        loader.take()
        loader.take()
        with pytest.raises(OSError, match="disk gone"):
            loader.take()
    assert set(threading.enumerate()) <= before
