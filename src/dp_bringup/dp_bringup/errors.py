"""Failures that a user can act on, and how the command line tells them from programming errors."""

from __future__ import annotations


class CommandError(RuntimeError):
    """A command cannot go on; the message says why and what to do."""


def is_expected(error: Exception) -> bool:
    """Whether an exception is one that this stack raises on purpose, with a message for the user.

    Every package raises its own named exceptions for bad input; a bare built-in exception is a bug, except for a
    missing or unreadable file.
    """
    named = type(error).__module__.split(".")[0].startswith("dp_")
    return named or isinstance(error, (FileNotFoundError, FileExistsError, PermissionError))
