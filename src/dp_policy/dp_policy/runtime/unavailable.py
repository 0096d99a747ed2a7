"""The error of runtimes that are not there."""


class RuntimeUnavailableError(RuntimeError):
    """A runtime cannot run this policy on this machine; the text says why."""
