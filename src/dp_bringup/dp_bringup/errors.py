"""Failures that a user can act on, and how the command line tells them from programming errors."""

from __future__ import annotations

import errno

#: What a file system answers when a path, its kind, its permissions or its room do not allow what a user asked for.
FILE_ERRORS = frozenset(
    {errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP}
)


class CommandError(RuntimeError):
    """A command cannot go on; the message says why and what to do."""


def is_expected(error: Exception) -> bool:
    """Whether an exception is one that this stack raises on purpose, with a message for the user.

    Every package raises its own named exceptions for bad input; a bare built-in exception is a bug, except for
    a file that is missing or cannot be read or written.
    """
    named = type(error).__module__.split(".")[0].startswith("dp_")
    if isinstance(error, (FileNotFoundError, FileExistsError, PermissionError)):
        return True
    return named or (isinstance(error, OSError) and error.errno in FILE_ERRORS)
