"""Benchmarks of policies on public tasks (Push-T) and the figures made from them."""
