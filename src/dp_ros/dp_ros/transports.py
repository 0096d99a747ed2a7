"""The DDS transports of a process."""

from __future__ import annotations

import os
from pathlib import Path

from dp_core.contract import config_directory

PROFILES, REACH = "FASTRTPS_DEFAULT_PROFILES_FILE", "ROS_AUTOMATIC_DISCOVERY_RANGE"
_SHIPPED = ("fastdds.xml", "fastdds_udp.xml", "fastdds_udp_localhost.xml")


def leave_shared_memory() -> None:
    """Let this process send and hear by UDP only; call it before the first context is made.

    Who writes into the shared memory of Fast DDS takes a lock there that a reader killed at the wrong moment keeps: a
    publication then waits for up to two seconds, and takes a control loop with it. Images need shared memory; commands
    and states do not. Participants with and without it hear each other.

    rmw_fastrtps adds shared memory to whatever a profile says where discovery is limited to this machine: there the
    profile limits discovery instead. Profiles of the user's own stay in force, and so does such a limit together with
    ROS_STATIC_PEERS.
    """
    chosen = Path(os.environ.get(PROFILES) or config_directory() / "dds" / _SHIPPED[0])
    localhost = os.environ.get(REACH, "").upper() == "LOCALHOST"
    profiles = chosen.with_name(_SHIPPED[2] if localhost else _SHIPPED[1])
    if chosen.name not in _SHIPPED or not profiles.is_file() or (localhost and os.environ.get("ROS_STATIC_PEERS")):
        return
    os.environ[PROFILES] = str(profiles)
    if localhost:
        os.environ[REACH] = "SYSTEM_DEFAULT"
