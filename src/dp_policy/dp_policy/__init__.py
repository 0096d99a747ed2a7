"""Networks, diffusion, normaliser, checkpoint and inference engine; pure torch."""
