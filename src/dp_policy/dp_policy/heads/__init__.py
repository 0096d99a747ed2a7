"""Heads: from observation features to chunks, one module for each method."""
