"""`dp bench soak`: the policy drives the simulated cell for long, and what that leaves behind is judged."""
