"""Offline training and evaluation of policies."""
