"""Tasks of the simulated cell, one file each."""
