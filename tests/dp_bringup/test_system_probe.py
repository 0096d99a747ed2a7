"""The probe that runs before the environment exists, on machines that lack things."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parents[2] / "tools" / "probe_system.py"


@pytest.fixture
def probe():
    spec = importlib.util.spec_from_file_location("probe_system", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nothing_is_missing_here(probe):
    assert probe.interpreter_problem() is None
    assert probe.missing_packages() == []


def test_missing_tools_are_one_line_with_the_packages(probe, monkeypatch, capsys):
    monkeypatch.setattr(probe.shutil, "which", lambda name: None)
    monkeypatch.setattr(probe.sys, "argv", ["probe_system.py"])
    assert probe.main() == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "apt-get install" in error
    assert all(name in error for name in ("cmake", "make", "gcc", "g++"))


def test_missing_rendering_names_the_libraries(probe, monkeypatch):
    monkeypatch.setattr(probe, "loads", lambda library: False)
    monkeypatch.setattr(probe.glob, "glob", lambda pattern: [])
    assert probe.missing_rendering() == ["libegl1", "libgl1-mesa-dri"]
    monkeypatch.setattr(probe, "loads", lambda library: library.startswith("libOSMesa"))
    assert probe.missing_rendering() == []


def test_unsupported_python_is_named(probe, monkeypatch):
    monkeypatch.setattr(probe.sys, "version_info", (3, 9, 1))
    assert "not supported" in probe.interpreter_problem() and "PYTHON=" in probe.interpreter_problem()


def test_other_processors_are_sent_to_apt(probe, monkeypatch):
    monkeypatch.setattr(probe.platform, "machine", lambda: "aarch64")
    assert "colcon" in probe.interpreter_problem()


def test_what_only_tests_use_is_asked_for_apart(probe, monkeypatch, capsys):
    monkeypatch.setattr(probe.shutil, "which", lambda name: None if name == "spacenavd" else f"/usr/bin/{name}")
    monkeypatch.setattr(probe.sys, "argv", ["probe_system.py", "--test-packages"])
    assert probe.main() == 0
    assert capsys.readouterr().out == "spacenavd\n"
    assert "spacenavd" not in probe.missing_packages()
