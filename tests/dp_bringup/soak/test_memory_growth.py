"""Growth of memory by numbers worked by hand, and samples of a process that is known."""

import os
import subprocess
import sys

import numpy as np
import pytest
from dp_bringup.soak.memory_growth import process_growth, range_growth, robust_slope
from dp_bringup.soak.process_samples import ProcessSample, ProcessSampler, sample_process, session_members


def sample(t_s, rss_mib, process="control_node", pid=1, **more):
    fields = {"anonymous_mib": rss_mib / 2, "pss_mib": None, "threads": 8, "files": 20, "cpu_s": 0.25 * t_s} | more
    return ProcessSample(t_s, process, pid, rss_mib, **fields)


def test_slope_of_a_line_that_outliers_do_not_move():
    t = np.arange(20.0)
    values = 3.0 + 0.5 * t
    values[[2, 11, 17]] = 1000.0
    assert robust_slope(t, values) == pytest.approx(0.5)
    assert robust_slope([1.0], [7.0]) == robust_slope([], []) == 0.0


@pytest.mark.parametrize(
    ("counts", "growth"),
    [
        ([8] * 20, 0),
        ([23, 24] * 10, 0),  # a bag opened and closed again
        ([23, 23, 24, 24], 1),
        ([23, 23, 23, 30], 0),  # what is given back widens the range only
        ([23, 24, 25, 26, 27, 28], 3),
        ([30, 30, 20, 20], -10),
        ([7], 0),
        ([7, 8], 1),
    ],
)
def test_a_count_grows_where_both_ends_of_its_range_go_up(counts, growth):
    assert range_growth(counts) == growth


def test_growth_is_that_of_the_second_half():
    """Half an hour: 300 MiB are taken at first; then 36 MiB/h, to which each episode of 7 s adds and takes back 5."""
    samples = [
        sample(t, 100.0 + min(t, 600.0) / 2 + max(0.0, t - 900.0) * 0.01 + (5.0 if t % 7 < 3 else 0.0))
        for t in np.arange(0.0, 1801.0)
    ]
    (growth,) = process_growth(samples)
    assert growth.growth_mib_per_h == pytest.approx(36.0, abs=1.0)
    assert growth.growth_mib == pytest.approx(9.0, abs=0.3)
    assert 409.0 - 0.5 <= growth.last_mib <= 409.0 + 5.0 + 0.5
    assert growth.cpu_cores == pytest.approx(0.25) and growth.threads == (8, 8)


def test_a_process_that_only_breathes_does_not_grow():
    samples = [sample(t, 100.0 + 8.0 * (t % 11 < 5)) for t in np.arange(0.0, 600.0)]
    assert abs(process_growth(samples)[0].growth_mib_per_h) < 1.0


def test_threads_and_files_are_counted_over_the_second_half():
    """One thread every 600 s and a file every 300 s; the first half of half an hour does not count."""
    samples = [sample(t, 100.0, threads=8 + t // 600, files=20 + t // 300) for t in range(1801)]
    (growth,) = process_growth(samples)
    assert (growth.threads_growth, growth.files_growth) == (1, 1)


def test_each_process_is_judged_by_itself_and_a_restarted_one_is_another():
    samples = [sample(t, 50.0, pid=4) for t in range(10)] + [sample(t, 70.0, pid=5) for t in range(10, 20)]
    samples += [sample(t, 10.0 + t, "policy_node", 6, pss_mib=3.0) for t in range(20)]
    growths = process_growth(samples)
    assert [g.process for g in growths] == ["control_node", "control_node", "policy_node"]
    assert growths[2].pss_mib == 3.0 and process_growth([]) == []


HUNGRY = """
import sys, threading, time
kept = bytearray(64 * 2**20)
kept[::4096] = b"x" * len(kept[::4096])
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
open("/dev/null")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hungry():
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", HUNGRY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout.readline() == b"ready\n"
    yield process
    process.kill()
    process.stdout.close()
    process.wait()


def test_a_sample_tells_what_the_process_holds(hungry):
    seen = sample_process(hungry.pid, "hungry", 1.5, with_pss=True)
    assert 64.0 < seen.anonymous_mib <= seen.rss_mib < 200.0 and 64.0 < seen.pss_mib <= seen.rss_mib + 1.0
    assert seen.threads == 2 and seen.files >= 3 and seen.cpu_s >= 0.0
    assert sample_process(hungry.pid, "hungry", 1.5).pss_mib is None


def test_a_process_that_has_ended_gives_no_sample(hungry):
    hungry.stdin.close()
    hungry.wait(20)
    assert sample_process(hungry.pid, "hungry", 0.0) is None


def test_the_children_of_a_node_are_sampled_with_it():
    leader = subprocess.Popen(
        ["sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True, text=True
    )
    try:
        child = int(leader.stdout.readline())
        members = session_members({leader.pid: "node"})
        assert members[leader.pid] == "node" and members[child] in ("node/sleep", "node/sh")
        assert os.getpid() not in members
    finally:
        os.killpg(leader.pid, 9)
        leader.communicate()


def test_the_sampler_leaves_its_samples_on_disk(hungry, tmp_path):
    log = tmp_path / "samples.jsonl"
    with ProcessSampler({"hungry": hungry.pid}, log, period_s=0.01) as sampler:
        while len(sampler.samples) < 3:
            pass
    assert len(log.read_text().splitlines()) == len(sampler.samples)
    times = [s.t_s for s in sampler.samples]
    assert times == sorted(times) and {s.process for s in sampler.samples} == {"hungry"}
