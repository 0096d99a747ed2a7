"""Faster ways to run the networks of a policy; the same weights, sampler and noise as the plain one."""
