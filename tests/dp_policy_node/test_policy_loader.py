"""Another checkpoint is made ready beside the running policy without taking its cores or changing its threads."""

import os
import sys
import threading

import pytest
import torch
from dp_core.configuration import ConfigurationError
from dp_policy.checkpoint import load_checkpoint
from dp_policy.engine import Engine
from dp_policy_node.loaded_engine import LOADER_NICENESS, PolicyLoader

HIGHEST_NICENESS = 19


def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="niceness belongs to a thread on Linux only")
def test_the_loading_thread_gives_way_and_no_other_one_does():
    before = niceness()
    loader = PolicyLoader(niceness, "folder")
    loader.join()
    assert loader.done and loader.ready == min(before + LOADER_NICENESS, HIGHEST_NICENESS)
    assert niceness() == before


def test_a_system_that_does_not_permit_it_loads_as_well(monkeypatch):
    def refuse(which, who, niceness):
        raise PermissionError("not permitted")

    monkeypatch.setattr(os, "setpriority", refuse)
    loader = PolicyLoader(lambda: "policy", "folder")
    loader.join()
    assert loader.ready == "policy" and loader.problem == ""


def test_what_cannot_be_loaded_is_told_and_not_raised():
    def prepare():
        raise ConfigurationError("no checkpoint there")

    loader = PolicyLoader(prepare, "folder")
    loader.join()
    assert loader.ready is None and loader.problem == "no checkpoint there"


def test_an_engine_of_as_many_threads_leaves_the_number_of_threads_alone(checkpoint, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    loaded, present = load_checkpoint(checkpoint()), torch.get_num_threads()
    Engine(loaded, num_threads=present, warmup_runs=0, runtime="reference")
    assert asked == []
    Engine(loaded, num_threads=present + 1, warmup_runs=0, runtime="reference")
    assert asked == [present + 1]
