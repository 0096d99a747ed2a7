"""RealSense cameras: devices, the map of their clocks to the ROS clock, and the camera node."""
