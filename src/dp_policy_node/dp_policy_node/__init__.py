"""Real-time inference node."""
