"""Readers of checkpoints of other projects."""
