"""One environment for all tests that touch ROS: a domain of this run alone, and messages that check their fields.

Many of these tests are about real time. On a shared machine everything may stand still for a second or two, and then
a robot that stops because its input is late does what it should. A test that fails while that happened is run again;
one that fails on a machine that went on fails at once. Of other processes nobody can tell whether they stood still, so
a test with some of them is run once more as well. All that was run again is listed at the end, with the first failure.
"""

import contextlib
import os
import resource
import signal
import threading
import time
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol
from dp_bringup.domain import dds_environment

# Setters of messages check types only when asked to; a wrong type otherwise shows up in somebody else's process.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
os.environ.update(dds_environment(Path(__file__).resolve().parents[1] / "build" / "test_logs"))

# A shell that starts the tests in the background has SIGINT ignored, and children inherit that: those whose Ctrl-C is
# tested would never hear it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A thread that does nothing but wake up is late by this much, less what the process computed meanwhile, only when the
# whole process was kept from running. (C code that holds the interpreter keeps the thread from waking up as well.)
STANDSTILL_S = 0.1
ATTEMPTS, ATTEMPTS_WITH_OTHERS = 3, 2


class Standstills:
    """Watches how late a thread wakes up.

    Attributes:
        longest_s: the longest standstill since it was last set to zero.
        again: the tests that were run again, each with the reason and the failure.
    """

    def __init__(self):
        self.longest_s = 0.0
        self.again = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            begun, computed = time.monotonic(), time.process_time()
            time.sleep(0.02)
            computed = time.process_time() - computed
            self.longest_s = max(self.longest_s, time.monotonic() - begun - computed - 0.02)


standstills = Standstills()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for attempt in range(1, ATTEMPTS + 1):
        standstills.longest_s, ended_before = 0.0, _time_of_ended_children()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
        failures = [report.longreprtext for report in reports if report.failed]
        if not failures or attempt == ATTEMPTS:
            break
        reason = ""
        if standstills.longest_s >= STANDSTILL_S:
            reason = f"the machine stood still for {standstills.longest_s:.2f} s"
        elif attempt < ATTEMPTS_WITH_OTHERS and (_time_of_ended_children() > ended_before or _has_children()):
            reason = "other processes took part"
        if not reason:
            break
        standstills.again.append("\n".join([f"{item.nodeid}: {reason}", *failures]))
        _forget(item)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _time_of_ended_children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _has_children():
    """Whether a process runs that this one has started, or did and has not been waited for."""
    found = ""
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found += path.read_text()
    return bool(found.strip())


def _forget(item):
    """Fixtures are made afresh, also wider ones whose making has failed."""
    item._initrequest()
    for definitions in item._fixtureinfo.name2fixturedefs.values():
        for definition in definitions:
            if definition.cached_result is not None and definition.cached_result[2] is not None:
                definition.finish(item._request)


def pytest_sessionfinish(session):
    """One of several processes tells the first what it has run again."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["again"] = standstills.again


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    standstills.again += getattr(node, "workeroutput", {}).get("again", [])


def pytest_terminal_summary(terminalreporter):
    if standstills.again:
        terminalreporter.section("run again")
        for line in standstills.again:
            terminalreporter.line(line)
