import json

import pytest
from dp_core.contract import config_directory
from dp_recorder.operator_flow import FlowSettings
from dp_recorder.plan_file import Plan, PlanError, PlanProgress, load_plan, read_progress

PLAN = Plan("cubes", "place", 4, prompts=("left", "right"), seed=7, note="day 2")


def write(path, text):
    path.write_text(text)
    return path


def test_a_plan_file_is_read_whole(tmp_path):
    file = write(
        tmp_path / "cubes.yaml",
        "task: place\nepisodes: 3\noperator: ada\nprompts: [left, right]\ncountdown_s: 5\nreset_pause_s: 8\n"
        "auto_start: true\nmax_duration_s: 40\nnote: day 2\nseed: 7\n",
    )
    plan = load_plan(file)
    assert (plan.name, plan.task, plan.operator) == ("cubes", "place", "ada")
    assert plan.settings == FlowSettings(5.0, 8.0, True, 40.0)
    assert [plan.prompt(item) for item in (1, 2, 3)] == ["left", "right", "left"]
    assert plan.note_of(3) == "day 2; seed=9"
    assert plan.describe(3) == {"name": "cubes", "item": 3, "of": 3, "prompt": "left"}


def test_the_example_that_is_shipped_is_valid_and_found_by_name():
    assert load_plan("example") == load_plan(config_directory() / "plans" / "example.yaml")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("task: place\n", "episodes: missing key"),
        ("task: place\nepisodes: 0\n", "episodes: 0 is out of range; valid: 1 to 100000"),
        ("task: place\nepisodes: many\n", "episodes: expected int, got 'many'"),
        ("task: ' '\nepisodes: 2\n", "task: must not be empty"),
        ("task: place\nepisodes: 2\nprompt: left\n", "prompt: unknown key; valid keys: auto_start"),
        ("task: place\nepisodes: 2\nprompts: left\n", "prompts: expected a list, got 'left'"),
        ("task: place\nepisodes: 1\nprompts: [a, b]\n", "prompts: 2 prompts for 1 episodes"),
        ("task: place\nepisodes: 2\ncountdown_s: 61\n", "countdown_s: 61.0 is out of range; valid: 0 to 60 s"),
        ("task: place\nepisodes: 2\nreset_pause_s: -1\n", "reset_pause_s: -1.0 is out of range"),
        ("task: place\nepisodes: 2\nmax_duration_s: .nan\n", "max_duration_s: must be finite"),
        ("task: place\nepisodes: 2\nseed: -3\n", "seed: -3 is out of range"),
        ("- place\n", "expected a mapping"),
        ("task: [place\n", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named_with_file_key_value_and_what_is_valid(tmp_path, text, named):
    file = write(tmp_path / "plan.yaml", text)
    with pytest.raises(PlanError) as error:
        load_plan(file)
    assert str(error.value).startswith(f"{file}: ") and named in str(error.value)


def test_an_unknown_plan_lists_those_there_are():
    with pytest.raises(PlanError, match=r"no plan 'nowhere': .*example"):
        load_plan("nowhere")


def test_items_follow_each_other_and_a_discarded_one_comes_again_at_the_end():
    progress = PlanProgress(PLAN)
    order = []
    for number, outcome in enumerate(["success", "discard", "failure", "success", "unlabelled"]):
        order.append(progress.item)
        progress.closed(f"e{number}", progress.item, outcome)
    assert order == [1, 2, 3, 4, 2]
    assert progress.finished and progress.done == 4 and "is done: 4 of 4" in progress.text


def test_redo_takes_the_same_item_again():
    progress = PlanProgress(PLAN)
    progress.closed("a", 1, "success")
    progress.relabelled("a", 1, "discard")
    progress.repeat(1)
    assert progress.item == 1 and progress.done == 0
    progress.closed("b", 1, "success")
    assert progress.item == 2


def test_moving_stays_within_the_plan_and_tells_what_is_recorded():
    progress = PlanProgress(PLAN, {"a": 1})
    assert progress.item == 2
    assert progress.move(-1) == "item 1 of 4 (recorded already)"
    assert progress.move(-1).startswith("item 1 of 4")
    assert progress.move(9) == "item 4 of 4"
    done = PlanProgress(PLAN, {"a": 1, "b": 2, "c": 3, "d": 4})
    assert done.item is None and done.move(-1) == "item 4 of 4 (recorded already)"
    done = PlanProgress(PLAN, {"a": 1, "b": 2, "c": 3, "d": 4})
    done.relabelled("b", 2, "discard")
    assert done.item == 2, "a finished plan goes on when an episode is put aside"


def test_two_episodes_of_an_item_count_once():
    progress = PlanProgress(PLAN, {"a": 1, "b": 1})
    assert progress.done == 1
    progress.relabelled("b", 1, "discard")
    assert progress.done == 1 and progress.is_done(1)


def episode(directory, name, item=None, outcome="success", state="closed", plan="cubes"):
    folder = directory / name
    folder.mkdir(parents=True)
    entry = {"name": plan, "item": item, "of": 4} if item is not None else None
    content = {"id": folder.name, "state": state, "outcome": outcome, "plan": entry}
    (folder / "episode.json").write_text(json.dumps(content))


def test_progress_is_resumed_from_what_lies_in_the_directory(tmp_path):
    episode(tmp_path, "episode_0001_place", 1)
    episode(tmp_path, "discarded/episode_0002_place", 2, "discard")
    episode(tmp_path, "episode_0003_place", 3, "unlabelled")
    episode(tmp_path, "episode_0004_place", 2, state="recording")
    episode(tmp_path, "episode_0005_place", 2, plan="other")
    episode(tmp_path, "episode_0006_place")
    episode(tmp_path, "episode_0007_place", 99)
    (tmp_path / "episode_0008_place").mkdir()
    (tmp_path / "episode_0008_place" / "episode.json").write_text("{")
    for number, damaged in ((9, b"\xff\x00"), (10, b"[1]")):
        (tmp_path / f"episode_{number:04d}_place").mkdir()
        (tmp_path / f"episode_{number:04d}_place" / "episode.json").write_bytes(damaged)
    progress = read_progress(PLAN, tmp_path)
    assert progress.item == 2 and progress.done == 2 and progress.is_done(1) and progress.is_done(3)
    assert read_progress(PLAN, tmp_path / "not_there").item == 1
