"""Chunk follower, teleoperation target, safety supervisor, robot back ends and the control node."""
