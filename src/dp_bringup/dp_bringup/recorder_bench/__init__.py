"""`dp bench recorder`: what recording costs, and whether everything that was published is in the bag."""
