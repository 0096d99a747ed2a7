"""Build frozen dataclasses from YAML with errors that name the key, the value and what is valid."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class ConfigurationError(ValueError):
    """A configuration value is missing, unknown or out of range."""


def build_dataclass(cls: type[T], data: Any, where: str = "") -> T:
    """Build ``cls`` from plain data as YAML gives it.

    Fields may be int, float, bool, str, nested dataclasses, ``tuple[X, ...]``, ``dict[str, X]`` and optionals of
    these; ``__post_init__`` of the dataclasses checks ranges and may raise :class:`ConfigurationError`.

    Args:
        cls: the dataclass.
        data: a mapping with one entry for each field.
        where: dotted name of the place, for errors.

    Raises:
        ConfigurationError: unknown, missing or ill-typed key; the message names it and what is valid.
    """
    if not isinstance(data, Mapping):
        raise ConfigurationError(f"{where or 'configuration'}: expected a mapping of keys, got {data!r}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    unknown = [str(key) for key in data if key not in fields]
    if unknown:
        raise ConfigurationError(f"{_join(where, unknown[0])}: unknown key; valid keys: {', '.join(sorted(fields))}")
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], _join(where, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ConfigurationError(f"{_join(where, name)}: missing key ({_type_name(hints[name])} is needed)")
    try:
        return cls(**values)
    except ConfigurationError as error:
        prefix = f"{where}." if where else ""
        raise ConfigurationError(f"{prefix}{error}") from None


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _type_name(hint: Any) -> str:
    if dataclasses.is_dataclass(hint):
        return "a mapping"
    return getattr(hint, "__name__", str(hint)) if typing.get_origin(hint) is None else str(hint)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return build_dataclass(typing.cast(type, hint), value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigurationError(f"{where}: expected a mapping, got {value!r}")
        return {str(k): _convert(args[1], v, _join(where, str(k))) for k, v in value.items()}
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigurationError(f"{where}: expected a list, got {value!r}")
        if args[-1] is not Ellipsis and len(value) != len(args):
            raise ConfigurationError(f"{where}: expected {len(args)} values, got {len(value)}: {value!r}")
        kinds = [args[0]] * len(value) if args[-1] is Ellipsis else list(args)
        return tuple(_convert(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(kinds, value, strict=True)))
    return _convert_scalar(hint, value, where)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if value != value or value in (float("inf"), float("-inf")):
            raise ConfigurationError(f"{where}: must be finite, got {value!r}")
        return float(value)
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigurationError(f"{where}: expected {_type_name(hint)}, got {value!r}")


def require_range(name: str, value: float, low: float, high: float, unit: str = "") -> None:
    """Raise :class:`ConfigurationError` unless ``low <= value <= high``."""
    if not low <= value <= high:
        raise ConfigurationError(f"{name}: {value!r} is out of range; valid: {low} to {high} {unit}".rstrip())


def require_choice(name: str, value: Any, choices: typing.Iterable[Any]) -> None:
    """Raise :class:`ConfigurationError` unless ``value`` is one of ``choices``."""
    valid = list(choices)
    if value not in valid:
        raise ConfigurationError(f"{name}: {value!r} is not valid; valid: {', '.join(map(str, valid))}")
