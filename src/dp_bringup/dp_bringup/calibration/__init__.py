"""Measures the latencies of a cell and writes them, with their uncertainty, into its contract."""
