"""`dp bench control`: period of the loop, smoothness of the motion, fault episodes."""
