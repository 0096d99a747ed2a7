"""Worker processes: results in order, failures explained, nobody left behind."""

import os
import signal
import time

import pytest
from dp_benchmark.errors import BenchmarkError
from dp_benchmark.processes import WorkerError, _Worker, run_jobs


def square(job, tell):
    tell(os.getpid())
    return job * job


def fail(job, tell):
    if job == 1:
        raise BenchmarkError("job one cannot be done")
    return job


def bug(job, tell):
    raise KeyError("forgotten")


def die(job, tell):
    os._exit(3)


def sleep_long(job, tell):
    tell(os.getpid())
    time.sleep(600)


def linger(job, tell):
    """Takes two seconds to end, as a training does that writes a checkpoint."""
    signal.signal(signal.SIGTERM, lambda *_: (time.sleep(2.0), os._exit(0)))
    tell(os.getpid())
    time.sleep(600)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_results_keep_the_order_of_the_jobs_and_processes_are_reused():
    pids = []
    assert run_jobs(square, [3, 1, 2, 5], 2, lambda job, pid: pids.append(pid)) == [9, 1, 4, 25]
    assert len(pids) == 4 and 1 <= len(set(pids)) <= 2 and os.getpid() not in pids
    assert not any(alive(pid) for pid in pids)


@pytest.mark.parametrize(
    ("work", "named"), [(fail, "job one cannot be done"), (bug, "KeyError.*forgotten"), (die, "exit status 3")]
)
def test_a_failed_job_says_why(work, named, capfd):
    with pytest.raises(WorkerError, match=named):
        run_jobs(work, [0, 1], 1)


def test_an_interruption_ends_all_processes():
    pids, begin = [], []

    def interrupt(job, pid):
        pids.append(pid)
        if len(pids) == 2:
            begin.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(sleep_long, [0, 1], 2, interrupt)
    assert time.monotonic() - begin[0] < 60
    assert not any(alive(pid) for pid in pids)


def test_processes_that_take_their_time_to_end_do_so_side_by_side():
    pids, begin = [], []

    def interrupt(job, pid):
        pids.append(pid)
        if len(pids) == 3:
            begin.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs(linger, [0, 1, 2], 3, interrupt)
    assert 2.0 <= time.monotonic() - begin[0] < 5.9, "one after the other: 6 s"


def test_a_process_that_died_between_two_jobs_is_an_error_of_its_own():
    """Not a BrokenPipeError, which the command line takes for a reader who has seen enough."""
    worker = _Worker(die)
    worker.begin(0, [None])
    worker._process.join(120)
    worker.begin(0, [None])
    with pytest.raises(WorkerError, match="exit status 3"):
        worker.receive()
    worker.ask_to_end(patient=True)
    worker.end()
