"""Whether this user may run the control loop in real time, and what to write where if not."""

from __future__ import annotations

import subprocess
import sys

from dp_ros.scheduling import DEFAULT_PRIORITY, memory_lock_limit_kib, memory_lock_permitted, priority_limit

from dp_bringup.finding import OK, WARN, Finding

_FIX = (
    r"sudo groupadd -f realtime; sudo usermod -aG realtime $USER; printf '@realtime - rtprio 90\n@realtime - memlock "
    r"unlimited\n' | sudo tee /etc/security/limits.d/99-realtime.conf; log in again "
    "(Docker: --cap-add=SYS_NICE --ulimit rtprio=90 --ulimit memlock=-1)"
)


def check_real_time() -> Finding:
    """Permission for real-time scheduling, tried in a child that ends at once."""
    attempt = f"import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param({DEFAULT_PRIORITY}))"
    command = [sys.executable, "-S", "-c", attempt]
    if subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0:
        return Finding("real time", OK, f"SCHED_FIFO {DEFAULT_PRIORITY} permitted")
    found = f"SCHED_FIFO {DEFAULT_PRIORITY} refused (rtprio limit {priority_limit()})"
    cost = "whatever else runs delays control cycles by milliseconds; a real arm feels it, the simulator does not"
    return Finding("real time", WARN, found, cost, _FIX)


def check_memory_lock() -> Finding:
    """Permission to keep the control process in memory."""
    if memory_lock_permitted():
        return Finding("memory lock", OK, "permitted")
    found = f"refused (memlock limit {memory_lock_limit_kib()} KiB, needs unlimited)"
    cost = "when memory runs short, a control cycle waits for the disk"
    return Finding("memory lock", WARN, found, cost, _FIX)
