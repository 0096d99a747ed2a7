"""The bench from end to end, short, over real DDS."""

import json
import subprocess
import sys

import pytest


def bench(*arguments, **options):
    command = [sys.executable, "-m", "dp_bringup.cli", "bench", "recorder", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def test_a_short_bench_loses_nothing_and_cleans_up(tmp_path):
    result = tmp_path / "figures.json"
    done = bench("--modes", "jpeg", "--seconds", 1, "--cameras", 1, "--naive-seconds", 1, "--out", tmp_path / "run",
                 "--json", result)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads(result.read_text())
    summary = content["summary"]
    assert summary["messages_lost"] == 0
    assert summary["cpu_cores"] > 0 and summary["ratio_to_naive"] > 0
    ours, naive = content["rows"]
    assert (ours["recorder"], naive["recorder"]) == ("dp_recorder", "naive rclpy")
    assert ours["messages_recorded"] == ours["messages_published"] > 1000
    assert ours["queue_high_messages"] > 0 and ours["peak_mib"] > 10 and ours["messages_per_s"] > 1000
    assert "| jpeg | dp_recorder |" in done.stdout and "messages_lost: 0" in done.stdout
    assert list((tmp_path / "run").rglob("*.mcap")) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--modes", "png"), "--modes 'png' is not valid; valid: raw, jpeg, zstd"),
        (("--cameras", "0"), "--cameras 0 is not valid; 1 to 16"),
        (("--seconds", "0.5"), "--seconds 0.5 is not valid; at least 1"),
        (("--seconds", "1e9"), "GiB free"),
    ],
)
def test_bad_options_are_refused_in_one_line(tmp_path, arguments, message):
    done = bench(*arguments, "--out", tmp_path / "run")
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
