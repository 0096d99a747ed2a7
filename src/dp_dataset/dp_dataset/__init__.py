"""Bags to aligned episodes to a training store."""
