"""A peer's configuration, read key by key so that nothing in it is passed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dp_policy.peers.errors import PeerCheckpointError

_REQUIRED = object()
#: No size, horizon or number of steps is larger.
LARGEST_NUMBER = 100_000


class Fields:
    """A mapping that remembers which keys were read.

    Args:
        mapping: plain settings.
        where: dotted name of the place, for errors.

    Raises:
        PeerCheckpointError: ``mapping`` is not a mapping.
    """

    def __init__(self, mapping: Any, where: str) -> None:
        if not isinstance(mapping, Mapping):
            raise PeerCheckpointError(f"{where} = {mapping!r} cannot be imported; it must be a mapping of keys")
        self.where = where
        self._mapping = mapping
        self._read: set[str] = set()

    def take(self, key: str, default: Any = _REQUIRED) -> Any:
        """The value of a key; without default it must be there."""
        self._read.add(key)
        if key not in self._mapping:
            if default is _REQUIRED:
                raise PeerCheckpointError(f"{self.where}.{key} is missing")
            return default
        return self._mapping[key]

    def number(self, key: str, default: Any = _REQUIRED, lowest: int = 1) -> int:
        """A whole number from ``lowest`` on."""
        value = self.take(key, default)
        if type(value) is not int or not lowest <= value <= LARGEST_NUMBER:
            raise self.refusal(key, value, f"a whole number, {lowest} to {LARGEST_NUMBER}")
        return value

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        """True or false."""
        return bool(self.require(key, (True, False), default))

    def numbers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers above 0."""
        value = self.take(key)
        fits = isinstance(value, (list, tuple)) and all(type(item) is int for item in value)
        if not fits or not all(1 <= item <= LARGEST_NUMBER for item in value):
            raise self.refusal(key, value, f"a list of whole numbers, 1 to {LARGEST_NUMBER}")
        return tuple(value)

    def require(self, key: str, supported: Sequence[Any], default: Any = _REQUIRED) -> Any:
        """The value of a key that must be one of ``supported``."""
        value = self.take(key, default)
        if not any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in supported):
            raise self.refusal(key, value, ", ".join(repr(one) for one in supported))
        return value

    def section(self, key: str, default: Any = _REQUIRED) -> Fields:
        """A mapping inside."""
        return Fields(self.take(key, default), f"{self.where}.{key}")

    def names(self) -> tuple[str, ...]:
        """All keys, in the order of the file; they are not read by that."""
        return tuple(self._mapping)

    def pass_over(self, *keys: str) -> None:
        """Keys that do not change what the policy computes."""
        self._read.update(keys)

    def finish(self) -> None:
        """Refuse keys that were not read, unless they are off (null, false or empty)."""
        for key, value in self._mapping.items():
            if key not in self._read and value not in (None, False, [], {}, ""):
                raise self.refusal(key, value, f"only {', '.join(sorted(self._read))} here")

    def refusal(self, key: str, value: Any, supported: str) -> PeerCheckpointError:
        """The error that names key, value and what is supported."""
        return PeerCheckpointError(f"{self.where}.{key} = {value!r} cannot be imported; supported: {supported}")
