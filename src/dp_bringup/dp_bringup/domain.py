"""The ROS domain and the DDS environment of a run.

Simulated cells have their own, so that two runs on one machine never hear each other; real ones those of their drivers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
import tempfile
from pathlib import Path
from typing import IO

from dp_core.contract import config_directory

from dp_bringup.errors import CommandError

DOMAINS = range(1, 101)  # above 101 the ports of DDS fall into the range that the kernel hands out
_FIRST_PORT, _PORTS_PER_DOMAIN = 7400, 250
_MOST_PARTICIPANTS = 100
_SHARED_MEMORY = Path("/dev/shm")
_PORT_FILE = re.compile(r"(?:sem\.)?fastrtps_port(\d+)(?:_\w+)?")
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
    """Lock a domain against our other runs and see that no other participant listens on its discovery ports."""
    path = Path(tempfile.gettempdir()) / f"dp_domain_{os.getuid()}_{domain}.lock"
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for port in _discovery_ports(domain):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind(("", port))
    except OSError:
        lock.close()
        return False
    _locks[domain] = lock
    forget_dead_participants(domain)
    return True


def _discovery_ports(domain: int) -> list[int]:
    """The port that participants share, and that of each: with discovery on this machine only there is no shared one.

    Source: DDSI-RTPS 2.5, 9.6.2.4 (PB, DG, PG, d0, d1).
    """
    first = _FIRST_PORT + _PORTS_PER_DOMAIN * domain
    return [first, *(first + 10 + 2 * participant for participant in range(_MOST_PARTICIPANTS))]


def forget_dead_participants(domain: int, folder: Path = _SHARED_MEMORY) -> None:
    """Remove the shared-memory ports that killed processes left in a domain in which nobody is any more.

    Fast DDS takes such a port for somebody else's: a new participant that comes to have it may hear nothing.
    `fastdds shm clean` leaves the ports whose lock file is gone already.
    """
    first = _FIRST_PORT + _PORTS_PER_DOMAIN * domain
    for path in folder.glob("*fastrtps_port*"):
        match = _PORT_FILE.fullmatch(path.name)
        if match and first <= int(match.group(1)) < first + _PORTS_PER_DOMAIN:
            with contextlib.suppress(OSError):  # another user's
                path.unlink()


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
