import shutil

from dp_recorder.storage_space import StorageSpace


def test_room_is_that_of_the_disk_although_the_folder_is_not_there_yet(tmp_path):
    space = StorageSpace(tmp_path / "not" / "yet", 1)
    assert space.problem() is None
    assert abs(space.free_bytes - shutil.disk_usage(tmp_path).free) < 2**30


def test_too_little_room_is_said_in_numbers(tmp_path):
    problem = StorageSpace(tmp_path, 2**60).problem()
    assert problem is not None and problem.endswith("at least 1073741824.00 GiB are needed")


def test_a_disk_that_does_not_answer_is_a_problem_and_no_crash(tmp_path, monkeypatch):
    def failing(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("shutil.disk_usage", failing)
    space = StorageSpace(tmp_path, 1)
    assert space.free_bytes == 0
    assert "does not answer: [Errno 5] Input/output error" in str(space.problem())
