"""Time and memory of inference: the published way to run a policy against the engine, in interleaved rounds."""
