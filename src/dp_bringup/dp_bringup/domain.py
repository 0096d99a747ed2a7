"""The ROS domain and the DDS environment of a run.

Simulated cells have their own, so that two runs on one machine never hear each other; real ones those of their drivers.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from pathlib import Path
from typing import IO

from dp_core.contract import config_directory

from dp_bringup.errors import CommandError

DOMAINS = range(1, 101)  # above 101 the ports of DDS fall into the range that the kernel hands out
_locks: dict[int, IO[str]] = {}  # held until this process ends


def choose_domain() -> int:
    """The domain of this run: $ROS_DOMAIN_ID when set, else a free one, reserved until this process ends.

    Raises:
        CommandError: all domains are taken.
    """
    if os.environ.get("ROS_DOMAIN_ID"):
        return int(os.environ["ROS_DOMAIN_ID"])
    start = os.getpid() % len(DOMAINS)
    for offset in range(len(DOMAINS)):
        domain = DOMAINS[(start + offset) % len(DOMAINS)]
        if _reserve(domain):
            return domain
    raise CommandError(f"no free ROS domain in {DOMAINS.start}..{DOMAINS.stop - 1}; set ROS_DOMAIN_ID")


def _reserve(domain: int) -> bool:
    """Lock a domain against our other runs and see that no other participant listens on its discovery port."""
    path = Path(tempfile.gettempdir()) / f"dp_domain_{os.getuid()}_{domain}.lock"
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.bind(("", 7400 + 250 * domain))
    except OSError:
        lock.close()
        return False
    _locks[domain] = lock
    return True


def dds_environment(log_dir: Path, isolated: bool = True) -> dict[str, str]:
    """Variables that every process of a run shares.

    Images travel through a shared-memory segment that holds them, logs stay in the run's folder, and numeric libraries
    keep to one thread (two on shared cores wait for each other).

    Args:
        log_dir: receives the logs of ROS.
        isolated: a domain of our own, and discovery on this machine only. A real cell is not: its drivers run where ROS
            is when nobody says otherwise (domain 0, the whole subnet), perhaps on another computer.
    """
    if isolated:
        domain, reach = str(choose_domain()), "LOCALHOST"
    else:
        domain = os.environ.get("ROS_DOMAIN_ID") or "0"
        reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET"
    return {
        "ROS_DOMAIN_ID": domain,
        "ROS_AUTOMATIC_DISCOVERY_RANGE": reach,
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(config_directory() / "dds" / "fastdds.xml"),
        "RMW_IMPLEMENTATION": "rmw_fastrtps_cpp",
        "ROS_LOG_DIR": str(log_dir / "ros"),
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }
