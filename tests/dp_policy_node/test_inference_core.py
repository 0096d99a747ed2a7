"""What the inference thread is told to do, on a virtual clock; times worked by hand."""

import numpy as np
import pytest
from dp_core.contract import load_contract
from dp_policy.config import PolicyConfig
from dp_policy_node.frames_ahead import Frame
from dp_policy_node.inference_core import InferenceCore

MS = 1_000_000
CONTRACT = load_contract("sim_franka")  # cameras and actions at 10 Hz
ACTIONS = np.arange(160, dtype=np.float32).reshape(16, 10)


def policy(history=2, name="test"):
    sections = {"name": name, "observation": {"cameras": ["front", "wrist"], "history": history}}
    return PolicyConfig.from_dict(sections)


class Run:
    """A core that sees a scene at 10 Hz and is asked what to do; `age_ms` after t_obs its chunks are published.

    Control reports a chunk when one of `arriving` replaces it.
    """

    def __init__(self, history=2, steps=8, age_ms=50, executes=True, contract=CONTRACT, arriving=()):
        self.arriving, self.executed = arriving, None
        self.core = InferenceCore(contract, policy(history), steps, 10 * MS, 10.0, executes)
        self.age_ms = age_ms
        self.jobs, self.encoded = [], []
        self.core.begin(0, 0.0)

    def see(self, t_ms, *cameras):
        for camera in cameras or ("front", "wrist"):
            self.core.push_image(camera, t_ms * MS, f"{camera} {t_ms}", t_ms * MS)
        self.core.aligner.push_pose(t_ms * MS, np.r_[0.5, 0, 0.3, 1, 0, 0, 0])
        self.core.aligner.push_width(t_ms * MS, 0.04)

    def work(self, t_ms):
        """Do what there is to do, as the thread would."""
        while (job := self.core.next(t_ms * MS, 1e-3 * t_ms)) is not None:
            if isinstance(job, Frame):
                self.encoded.append((job.camera, job.stamp_ns // MS, "ahead"))
                self.core.cache.put(job.camera, job.stamp_ns, "features", ahead=True)
                continue
            self.jobs.append(job)
            for camera, stamps in job.observation.frame_stamps_ns.items():
                for stamp in stamps:
                    if self.core.cache.get(camera, stamp) is None:
                        self.encoded.append((camera, stamp // MS, "asked"))
                        self.core.cache.put(camera, stamp, "features")
            number = len(self.jobs) - 1
            self.core.published(job, number, ACTIONS, job.observation.t_ns + self.age_ms * MS)
            if number in self.arriving:
                if self.executed is not None:
                    self.core.reported(self.executed, stopped=False)
                self.executed = number

    def through(self, times):
        for t in times:
            self.see(t)
            self.work(t)
        return self

    @property
    def planned(self):
        return [job.observation.t_ns // MS for job in self.jobs]


def test_each_chunk_is_followed_by_the_last_that_arrives_in_time_and_knows_what_runs_meanwhile():
    run = Run().through(range(0, 2501, 100))
    # At an age of 50 ms the chunk of 700 ms after the one before is the last that comes before eight actions end.
    assert run.planned == [100, 800, 1500, 2200]
    first, second, *_ = run.jobs
    assert first.previous_plan is None and first.n_late == 0
    np.testing.assert_array_equal(second.previous_plan, ACTIONS[7:])
    assert second.n_late == 1


def test_a_slow_engine_begins_earlier_and_gives_away_more_actions():
    run = Run(age_ms=350).through(range(0, 3001, 100))
    assert run.planned[1:4] == [500, 900, 1300]
    assert [job.n_late for job in run.jobs[1:4]] == [4, 4, 4]


def test_overlapping_windows_encode_each_frame_once():
    run = Run(steps=1).through(range(0, 1001, 100))
    assert run.planned == list(range(100, 1001, 100))
    frames = [(camera, stamp) for camera, stamp, _ in run.encoded]
    assert sorted(frames) == sorted((camera, t) for camera in ("front", "wrist") for t in range(0, 1001, 100))


def test_the_older_frames_of_the_window_are_encoded_before_the_inference_and_no_others():
    run = Run().through(range(0, 1001, 100))
    assert run.planned == [100, 800]
    both = ("front", "wrist")
    assert run.encoded == [
        *((camera, 0, "ahead") for camera in both),
        *((camera, 100, "asked") for camera in both),
        *((camera, 700, "ahead") for camera in both),
        *((camera, 800, "asked") for camera in both),
    ]
    assert run.core.cache.counts.in_vain == 0


def test_the_first_camera_is_encoded_while_the_second_is_awaited():
    run = Run(history=1).through(range(0, 601, 100))
    run.see(700, "front")
    run.work(700)
    assert run.encoded[-1] == ("front", 700, "ahead") and run.planned == [0]
    run.see(700, "wrist")
    run.work(720)
    assert run.encoded[-1] == ("wrist", 700, "asked") and run.planned == [0, 700]


def test_what_cannot_be_ready_in_time_is_not_encoded_once_forecasts_have_failed():
    run = Run().through(range(0, 601, 100))
    run.core.encode_ns = 150 * MS
    for stamp in range(20):
        run.core.cache.put("front", stamp, "wrong", ahead=True)  # the cache holds 16: four fall out unused
    assert run.core.cache.used_share < 0.9
    run.through([700])
    assert run.planned[-1] == 100 and run.encoded[-1][1:] == (100, "asked")
    run.through([800])
    assert run.planned[-1] == 800


def test_a_refused_chunk_is_not_gone_on_from_and_the_next_observation_is_due():
    run = Run().through([0, 100])
    run.core.reported(0, stopped=True)
    run.work(150)
    assert run.planned == [100], "the same observation would give the same chunk"
    run.through([200, 300])
    assert run.planned == [100, 200] and run.jobs[1].previous_plan is None and run.jobs[1].n_late == 0
    assert run.core.counts.dropped_plans == 1


def test_a_chunk_that_goes_on_from_a_plan_stopped_meanwhile_is_not_wanted():
    run = Run().through(range(0, 701, 100))
    run.see(800)
    job = run.core.next(800 * MS, 0.8)
    while isinstance(job, Frame):
        run.core.cache.put(job.camera, job.stamp_ns, "features", ahead=True)
        job = run.core.next(800 * MS, 0.8)
    assert job.previous_plan is not None and run.core.wanted(job)
    run.core.reported(0, stopped=True)  # control holds: the arm will not be where the given actions say
    assert not run.core.wanted(job) and run.core.counts.discarded == 1
    run.work(850)
    assert run.planned == [100, 800] and run.jobs[1].previous_plan is None and run.core.wanted(run.jobs[1])


def test_the_end_of_an_older_chunk_leaves_the_newest_alone():
    run = Run().through(range(0, 901, 100))
    assert run.planned == [100, 800]
    run.core.reported(0, stopped=True)
    assert run.core.memory.remaining(900 * MS) is not None and run.core.counts.dropped_plans == 0


def test_a_chunk_that_never_reached_control_is_not_gone_on_from():
    """That of 800 ms has replaced the first; that of 1500, published at 1550, is lost."""
    run = Run(arriving=(0, 1, 3, 4)).through(range(0, 2001, 100))
    assert run.planned == [100, 800, 1500] and run.core.memory.remaining(2000 * MS) is not None, "its receipt may come"
    run.through([2100])
    assert run.planned[-1] == 2100 and run.jobs[-1].previous_plan is None and run.jobs[-1].n_late == 0
    assert run.core.counts.lost_plans == 1 and run.core.counts.dropped_plans == 0
    run.through(range(2200, 2801, 100))
    assert run.planned[-1] == 2800 and run.jobs[-1].previous_plan is not None and run.core.counts.lost_plans == 1


def test_a_chunk_whose_predecessor_is_reported_as_replaced_is_gone_on_from():
    run = Run(arriving=range(9)).through(range(0, 2201, 100))
    assert run.planned[-1] == 2200 and run.jobs[-1].previous_plan is not None and run.core.counts.lost_plans == 0


def test_of_a_control_that_never_reports_nothing_is_concluded():
    run = Run().through(range(0, 3001, 100))
    assert run.planned == [100, 800, 1500, 2200, 2900] and run.core.counts.lost_plans == 0
    assert all(job.previous_plan is not None for job in run.jobs[1:])


def test_an_older_plan_that_ended_before_its_time_has_not_been_replaced():
    run = Run(arriving=(0, 1)).through(range(0, 1501, 100))
    run.core.reported(1, stopped=True)
    run.through(range(1600, 2101, 100))
    assert run.core.counts.lost_plans == 1 and run.jobs[-1].previous_plan is None


def test_no_receipt_is_due_of_the_first_chunk_of_an_activation():
    run = Run(arriving=(0, 1, 2)).through(range(0, 1501, 100))
    run.core.end()
    run.core.begin(5000 * MS, 5.0)
    run.through(range(5000, 5901, 100))
    assert run.planned[-2:] == [5100, 5800] and run.jobs[-1].previous_plan is not None
    assert run.core.counts.lost_plans == 0


def test_another_policy_waits_for_the_older_plan_that_control_executes_instead_of_a_lost_one():
    run = Run(arriving=(0, 1)).through(range(0, 1501, 100))
    run.work(2100)
    assert run.core.counts.lost_plans == 1
    run.core.use(policy(name="other"), 8, 10 * MS)
    run.through(range(2200, 3101, 100))  # the lost plan would have ended at 3000 ms, no older one ends later
    assert run.planned == [100, 800, 1500, 3100]


def test_an_activation_starts_with_nothing_and_ignores_older_samples():
    run = Run().through(range(0, 301, 100))
    run.core.end()
    assert not run.core.accepts(400 * MS, 400 * MS, 0.4) and run.core.next(400 * MS, 0.4) is None
    run.core.begin(1000 * MS, 1.0)
    assert not run.core.accepts(999 * MS, 1005 * MS, 1.0) and run.core.accepts(1000 * MS, 1005 * MS, 1.0)
    run.through([1000, 1100])
    assert run.planned == [100, 1100] and run.jobs[1].previous_plan is None


def test_a_chunk_of_an_activation_that_ended_meanwhile_is_not_wanted():
    run = Run().through([0, 100])
    (job,) = run.jobs
    assert run.core.wanted(job)
    run.core.end()
    run.core.begin(200 * MS, 0.2)
    assert not run.core.wanted(job) and run.core.counts.discarded == 1


def test_another_policy_waits_for_the_end_of_the_plan_in_execution():
    run = Run().through(range(0, 401, 100))
    run.core.use(policy(history=1, name="other"), 4, 10 * MS)
    # The chunk of 100 ms ends with its sixteenth action, at 1600 ms; control is late by one period of 10 ms at most.
    run.through(range(500, 1601, 100))
    assert run.planned == [100]
    run.through([1700])
    assert run.planned == [100, 1700] and run.jobs[1].previous_plan is None
    assert run.jobs[1].observation.frame_stamps_ns["front"] == [1700 * MS], "its history is its own"


def test_in_a_dry_run_nothing_is_gone_on_from_and_another_policy_takes_over_at_once():
    run = Run(executes=False).through(range(0, 901, 100))
    assert run.planned == [100, 800] and run.jobs[1].previous_plan is None and run.jobs[1].n_late == 0
    run.core.use(policy(name="other"), 8, 10 * MS)
    run.through([1000])
    assert run.planned[-1] == 1000


@pytest.mark.parametrize("found_by", ["stamps", "clock"])
def test_a_clock_that_is_set_back_begins_anew(found_by):
    run = Run()
    run.core.begin(60_000 * MS, 0.0)
    run.through(range(60_000, 60_301, 100))
    assert run.planned == [60_100]
    if found_by == "clock":  # without control nobody says that an episode ended
        assert run.core.accepts(100 * MS, 100 * MS, 5.0)
    run.through(range(100, 401, 100))
    assert run.planned == [60_100, 200] and run.jobs[1].previous_plan is None
    assert run.core.counts.restarts == 1


def test_a_silent_stream_is_named_and_at_last_a_failure():
    run = Run()
    run.core.push_image("front", 0, "front", 0)
    assert run.core.next(0, 2.0) is None
    assert run.core.problem.startswith("nothing yet on camera/wrist/color/image_raw, robot/ee_pose")
    assert not run.core.watch.failure
    run.core.next(0, 10.1)
    assert "within 10.0 s of activation" in run.core.watch.failure and "front" not in run.core.watch.failure


def test_a_stream_that_dies_is_named():
    run = Run(history=1).through(range(0, 301, 100))
    for t in range(400, 2001, 100):
        run.see(t, "wrist")
        run.work(t)
    assert run.core.problem == "nothing new on camera/front/color/image_raw for 1.7 s"


def test_frames_are_kept_for_a_window_not_for_hours():
    run = Run().through(range(0, 30_001, 100))
    # Two steps of 100 ms, streams up to 250 ms old and 100 ms to spare at 10 Hz, twice that before it is trimmed.
    assert all(len(buffer) < 2 * 8 for buffer in run.core.aligner.cameras.values())
    assert len(run.planned) > 30


def test_a_policy_that_looks_back_further_takes_over_once_its_window_is_full():
    run = Run(history=1, executes=False).through(range(0, 501, 100))
    run.core.use(policy(history=8, name="other"), 8, 10 * MS)
    run.through(range(600, 1401, 100))
    assert run.planned == [0, 1300]
    assert run.jobs[1].observation.frame_stamps_ns["wrist"] == [t * MS for t in range(600, 1301, 100)]
