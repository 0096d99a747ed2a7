"""Real-time set-up in children of their own: what is refused is text, what is granted holds."""

import gc
import json
import os
import subprocess
import sys

import pytest
from dp_ros.idle_collector import IdleCollector
from dp_ros.real_time import parse_cpus

from dp_ros import idle_collector

UNPRIVILEGED = """
import json, os, resource, threading, time
from dp_ros import real_time
threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
"""


def run_child(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_without_permission_everything_is_refused_in_words_and_nothing_fails():
    texts = run_child(
        UNPRIVILEGED + "settings = real_time.RealTimeSettings(priority=40, cpus=(1023,))\n"
        "print(json.dumps(real_time.apply_settings(settings)))\n"
    )
    processors, memory, priority = texts
    assert processors.startswith("processors 1023 refused")
    assert memory == "memory lock refused (memlock limit 64 KiB, needs unlimited)"
    assert priority == "SCHED_FIFO 40 refused (Operation not permitted; rtprio limit 0)"


def test_what_needs_no_permission_is_done_all_the_same():
    state = run_child(
        UNPRIVILEGED + "import ctypes, gc, sys\n"
        "real_time.apply_settings(real_time.RealTimeSettings(switch_interval_s=0.0007))\n"
        "slack_ns = ctypes.CDLL(None).prctl(30, 0, 0, 0, 0)\n"  # PR_GET_TIMERSLACK
        "print(json.dumps([sys.getswitchinterval(), gc.isenabled(), gc.get_freeze_count() > 1000, slack_ns]))\n"
    )
    assert state == [0.0007, False, True, 1]


def test_settings_of_zero_leave_the_process_as_it_is():
    state = run_child(
        "import gc, json, os, sys\nfrom dp_ros import real_time\n"
        "settings = real_time.RealTimeSettings(0, False, 0.0, False)\n"
        "refused = real_time.apply_settings(settings)\n"
        "print(json.dumps([refused, sys.getswitchinterval(), gc.isenabled(), os.sched_getscheduler(0)]))\n"
    )
    assert state == [[], 0.005, True, os.SCHED_OTHER]


def fifo_permitted():
    script = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(2))"
    return subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, check=False).returncode == 0


def test_the_worker_is_one_step_above_the_other_threads_of_its_process():
    if not fifo_permitted():
        pytest.skip("SCHED_FIFO is not permitted here: see `dp doctor`")
    script = (
        "import json, os, threading, time\nfrom dp_ros import scheduling\n"
        "other = threading.Thread(target=time.sleep, args=(30,), daemon=True)\nother.start()\nout = []\n"
        "def work():\n"
        "    out.append(scheduling.raise_priority(20))\n"
        "    for tid in (threading.get_native_id(), other.native_id, os.getpid()):\n"
        "        out.append([os.sched_getscheduler(tid), os.sched_getparam(tid).sched_priority])\n"
        "worker = threading.Thread(target=work)\nworker.start()\nworker.join()\nprint(json.dumps(out))\n"
    )
    fifo = os.SCHED_FIFO
    assert run_child(script) == ["", [fifo, 20], [fifo, 19], [fifo, 19]]


def test_processors_are_read_from_text():
    assert parse_cpus("") == () and parse_cpus(" 2, 3 ") == (2, 3)
    with pytest.raises(ValueError, match="list of processor numbers"):
        parse_cpus("2-3")


def test_garbage_is_collected_when_there_is_time_and_finally_in_any_case(monkeypatch):
    now = [0]
    monkeypatch.setattr(idle_collector.time, "monotonic_ns", lambda: now[0])
    done = []

    def collect(generation):
        done.append((now[0] // 10**9, generation))
        now[0] += 2_000_000  # takes 2 ms

    monkeypatch.setattr(gc, "collect", collect)
    collector = IdleCollector()
    for second in range(1, 16):
        now[0] = second * 1_000_000_000 + second * 3_000_000
        collector.use(7_000_000 if second < 4 else 3_000_000)
    # Each second while 7 ms are free; then 3 ms are too few, until ten intervals have gone by.
    assert done == [(1, 1), (2, 1), (3, 1), (13, 1)]
