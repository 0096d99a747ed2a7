"""What a process costs, by the kernel's own count: processor time and memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


class ProcessMeter:
    """Processor time of one process, all threads, since the meter was made."""

    def __init__(self, pid: int) -> None:
        self._folder = Path("/proc") / str(pid)
        self._cpu_s = self._read_cpu_s()
        self._begin_s = time.monotonic()

    def again(self) -> ProcessMeter:
        """A meter of the same process that starts now."""
        return ProcessMeter(int(self._folder.name))

    def cpu_s(self) -> float:
        """Processor time so far, s."""
        return self._read_cpu_s() - self._cpu_s

    def wall_s(self) -> float:
        """Wall time so far, s."""
        return time.monotonic() - self._begin_s

    def peak_mib(self) -> float:
        """Most memory the process ever had resident, MiB."""
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
        return float("nan")

    def _read_cpu_s(self) -> float:
        # The name of the process, in brackets, may hold spaces.
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S
