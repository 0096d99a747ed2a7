"""What can go wrong in a benchmark through no fault of the program."""


class BenchmarkError(RuntimeError):
    """A benchmark cannot be run as asked; the message names what was wrong and what is valid."""


class MissingPackageError(BenchmarkError):
    """An optional package that a benchmark needs is not installed."""


class UnsuitablePolicyError(BenchmarkError):
    """A checkpoint observes or commands something that the benchmark's environment does not have."""
