"""SpaceMouse devices, the mapping to a twist, and the teleoperation node."""
