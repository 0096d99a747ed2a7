import pytest
from dp_bringup.demo_plan import DemoState, load_state, make_plan
from dp_bringup.episodes import EpisodeResult
from dp_bringup.errors import CommandError
from dp_bringup.summary import describe_episodes, episode_figures


def result(seed, success, side="left", collisions=0):
    return EpisodeResult(seed, "policy", success, collisions, side, 5.0, 6.0, "" if success else "dropped the cube")


@pytest.mark.parametrize("task", ["place", "reach_around"])
@pytest.mark.parametrize("size", ["quick", "default", "full"])
def test_no_start_is_seen_twice(task, size):
    first, second = make_plan(task, size, "sim_franka", "small", 0), make_plan(task, size, "sim_franka", "small", 1)
    ranges = [first.demonstration_seeds, first.evaluation_seeds, second.demonstration_seeds, second.evaluation_seeds]
    seeds = [seed for seeds in ranges for seed in seeds]
    assert len(seeds) == len(set(seeds))


def test_default_plan_scores_twenty_starts():
    assert make_plan("place", "default", "sim_franka", "small", 0).episodes == 20


def test_unknown_size_is_named():
    with pytest.raises(CommandError, match="quick, default, full"):
        make_plan("place", "huge", "sim_franka", "small", 0)


def test_state_survives_a_restart(tmp_path):
    state = DemoState(tmp_path, make_plan("place", "quick", "sim_franka", "small", 3))
    state.demonstrations.append(result(3, True))
    state.stages["record"] = 12.5
    state.save()
    assert load_state(tmp_path) == state


@pytest.mark.parametrize("text", [None, "", "{}", '{"plan": {"task": "place"}}'])
def test_unreadable_state_is_one_message(tmp_path, text):
    if text is not None:
        (tmp_path / "state.json").write_text(text)
    with pytest.raises(CommandError, match=r"state\.json"):
        load_state(tmp_path)


def test_episode_figures():
    figures = episode_figures([result(0, True), result(1, True, "right"), result(2, False, "right", 2)])
    assert figures["success"] == pytest.approx(2 / 3)
    assert figures["side_counts"] == {"left": 1, "right": 1}
    assert figures["collision_rate"] == pytest.approx(1 / 3)
    assert episode_figures([])["success"] == 0.0


def test_failures_are_listed():
    text = describe_episodes([result(0, True), result(7, False)])
    assert "seed 7: failed: dropped the cube" in text and "1/2" in text
