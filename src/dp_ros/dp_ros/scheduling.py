"""What the kernel grants a process that must keep its time: priority, processors, memory, exact timers.

Each function returns empty text, or what was refused and by which limit; none fails. No ROS in here, so that
``dp doctor`` can ask as well.
"""

from __future__ import annotations

import ctypes
import os
import resource
import threading
from pathlib import Path

#: Below 50, at which Linux's real-time kernel serves interrupts: the network must go on.
DEFAULT_PRIORITY = 40
# linux/prctl.h, sys/mman.h (x86, arm), linux/capability.h
_PR_SET_TIMERSLACK = 29
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14


def raise_priority(priority: int) -> str:
    """Make the calling thread SCHED_FIFO at ``priority`` and the process's other threads one below.

    Threads that those start later inherit it.

    Returns:
        Empty, or why not.
    """
    own = threading.get_native_id()
    try:
        os.sched_setscheduler(own, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        return f"SCHED_FIFO {priority} refused ({error.strerror}; rtprio limit {priority_limit()})"
    for thread in _threads():
        if thread != own:
            try:
                os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(max(priority - 1, 1)))
            except ProcessLookupError:
                continue  # it has just ended
            except OSError as error:
                return f"SCHED_FIFO {priority - 1} of thread {thread} refused ({error.strerror})"
    return ""


def pin_process(cpus: tuple[int, ...]) -> str:
    """Restrict all threads of this process to these processors; returns empty, or why not."""
    try:
        for thread in _threads():
            os.sched_setaffinity(thread, cpus)
    except ProcessLookupError:
        pass
    except (OSError, ValueError) as error:
        return f"processors {','.join(map(str, cpus))} refused ({error}; there are {os.cpu_count()})"
    return ""


def _threads() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/task").glob("*")]


def priority_limit() -> int:
    """Highest real-time priority that this user may take without a capability."""
    return resource.getrlimit(resource.RLIMIT_RTPRIO)[0]


def memory_lock_limit_kib() -> int:
    """How much memory this user may lock without a capability, KiB; negative when unlimited."""
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] >> 10


def memory_lock_permitted() -> bool:
    """Whether all of this process's memory may be locked: by capability or an unlimited memlock limit.

    A limited one would let mlockall pass today and every allocation beyond the limit fail tomorrow.
    """
    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY or _has_capability(_CAP_IPC_LOCK)


def _has_capability(number: int) -> bool:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return False
    effective = next((line.split()[1] for line in lines if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> number & 1)


def lock_memory() -> str:
    """Lock pages, present and future, once they have been touched; returns empty, or why not."""
    if not memory_lock_permitted():
        return f"memory lock refused (memlock limit {memory_lock_limit_kib()} KiB, needs unlimited)"
    # On fault: thread stacks and shared-memory segments are mostly empty, and filling them would cost 100 MB.
    return _call("mlockall", _MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)


def reduce_timer_slack() -> str:
    """Let the kernel wake the calling thread up within a nanosecond of its time; returns empty, or why not."""
    return _call("prctl", _PR_SET_TIMERSLACK, 1, 0, 0, 0)


def _call(name: str, *arguments: int) -> str:
    """Call a function of the C library; returns empty, or its name and the error."""
    try:
        library = ctypes.CDLL(None, use_errno=True)
        status = getattr(library, name)(arguments[0], *(ctypes.c_ulong(value) for value in arguments[1:]))
    except (AttributeError, OSError) as error:
        return f"{name} is not there ({error})"
    return "" if status == 0 else f"{name} refused ({os.strerror(ctypes.get_errno())})"
