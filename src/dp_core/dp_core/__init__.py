"""Poses, time alignment, chunk schedule, motion limits and the cell contract; pure numpy."""
