"""The forecast of the next observation; times worked by hand."""

import dataclasses

import pytest
from dp_core.alignment import ObservationAligner
from dp_core.contract import load_contract
from dp_policy_node.frames_ahead import Frame, expected_observation_ns, frames_wanted, worth_encoding

MS = 1_000_000
CELL = load_contract("sim_franka")  # two cameras at 10 Hz, actions at 10 Hz
FAST = dataclasses.replace(
    CELL, cameras={name: dataclasses.replace(camera, rate_hz=50.0) for name, camera in CELL.cameras.items()}
)


def seen(contract, front, wrist, history=2):
    aligner = ObservationAligner(contract, history, 400)
    for name, stamps in (("front", front), ("wrist", wrist)):
        for t in stamps:
            aligner.push_image(name, t * MS, f"{name} {t}")
    return aligner


def test_cameras_go_on_at_their_rate():
    aligner = seen(CELL, range(0, 501, 100), range(0, 501, 100))
    assert expected_observation_ns(aligner, 500 * MS) == 600 * MS
    assert expected_observation_ns(aligner, 650 * MS) == 700 * MS
    assert expected_observation_ns(aligner, 700 * MS) == 800 * MS, "later than, not at"


def test_a_camera_that_comes_later_sets_the_time():
    # The wrist camera is 30 ms behind: when the front camera's frame of 600 comes, both have reached 530.
    aligner = seen(CELL, range(0, 501, 100), range(30, 431, 100))
    assert expected_observation_ns(aligner, 500 * MS) == 530 * MS
    # Its frame of 600 is older than 620, so it takes that of 700, when both have reached 630.
    assert expected_observation_ns(aligner, 620 * MS) == 630 * MS


def test_a_frame_that_has_arrived_of_the_next_observation_counts():
    aligner = seen(CELL, range(0, 601, 100), range(0, 501, 100))
    assert expected_observation_ns(aligner, 550 * MS) == 600 * MS
    wanted = frames_wanted(aligner, 600 * MS, ("front", "wrist"))
    assert [(f.camera, f.stamp_ns // MS, f.step) for f in wanted] == [
        ("front", 500, 1),
        ("wrist", 500, 1),
        ("front", 600, 0),
    ]


def test_of_a_fast_camera_only_the_frames_of_the_window_are_wanted():
    aligner = seen(FAST, range(0, 561, 20), range(0, 561, 20))
    # The window of 640 looks at 540 as well; of the frames so far only that one belongs to it.
    assert [(f.camera, f.stamp_ns // MS) for f in frames_wanted(aligner, 640 * MS, ("front",))] == [("front", 540)]
    assert frames_wanted(aligner, 700 * MS, ("front",)) == []


def test_without_frames_nothing_is_expected():
    assert expected_observation_ns(seen(CELL, [0], []), 0) is None


@pytest.mark.parametrize(
    ("step", "now", "share", "worth"),
    [
        (1, 500, 0.0, True),  # ready at 540, awaited at 600
        (1, 570, 0.0, False),  # ready at 610: a forecast that fails would delay an inference
        (1, 570, 0.95, True),  # but forecasts come true here
        (0, 595, 0.0, True),  # needed in any case
    ],
)
def test_frames_are_not_encoded_in_vain(step, now, share, worth):
    assert worth_encoding(Frame("front", 0, None, step), now * MS, 600 * MS, 40 * MS, share) is worth
