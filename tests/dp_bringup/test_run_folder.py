"""Run folders are new each time and worked on by one process at a time."""

import subprocess
import sys

import pytest
from dp_bringup.errors import CommandError
from dp_bringup.run_folder import new_run_folder, only_worker


def test_folders_are_never_reused_and_latest_points_at_the_newest(tmp_path):
    first, second = new_run_folder(tmp_path), new_run_folder(tmp_path)
    assert first != second and (tmp_path / "latest").resolve() == second


def test_a_run_has_one_worker_and_is_free_after_a_kill(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from dp_bringup.run_folder import only_worker\n"
        "with only_worker(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    with pytest.raises(CommandError, match="another process is working on this run"), only_worker(tmp_path):
        pass
    child.kill()
    child.wait()
    with only_worker(tmp_path):
        pass
