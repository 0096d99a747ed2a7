"""The ROS shell that every node shares: QoS profiles, message conversion, pacing and start-up."""
