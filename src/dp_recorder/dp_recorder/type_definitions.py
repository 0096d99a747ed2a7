"""Message definitions and type hashes as rosbag2 stores them, read from the ROS installation.

rosbag2 puts the text of a type and of everything it contains into the bag, so that a reader needs no
installed message package. The text here is built in the same way and order as rosbag2 does it (Jazzy,
``LocalMessageDefinitionSource``): root text, then depth first each dependency once, sorted by name.
"""

import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_FIELD_TYPE = re.compile(r"(?:^|\n)\s*([a-zA-Z0-9_/]+)(?:\[[^\]]*\])?\s+", re.ASCII)
_PRIMITIVES = frozenset(
    "bool byte char float32 float64 int8 uint8 int16 uint16 int32 uint32 int64 uint64 string".split()
)
_DELIMITER = "=" * 80 + "\nMSG: "


class TypeDefinitionError(LookupError):
    """A message type has no definition in the ROS installation."""


@dataclass(frozen=True)
class TypeDefinition:
    """What a bag says about one message type.

    Attributes:
        name: Full name, for example ``sensor_msgs/msg/Image``.
        encoding: Schema language of ``text``, as rosbag2 names it.
        text: Definition of the type and of every type it contains.
        type_hash: REP-2016 hash (``RIHS01_...``).
    """

    name: str
    text: str
    type_hash: str
    encoding: str = "ros2msg"


def installation_prefixes() -> tuple[Path, ...]:
    """Prefixes searched for ``share/<package>``: AMENT_PREFIX_PATH, then the Python prefix."""
    listed = [Path(entry) for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    return tuple(dict.fromkeys([*listed, Path(sys.prefix)]))


def load_type_definition(name: str, prefixes: Sequence[Path] | None = None) -> TypeDefinition:
    """Read the definition of a message type.

    Args:
        name: Full name, ``package/msg/Type``.
        prefixes: Installation prefixes to search; None for those of the environment.

    Raises:
        TypeDefinitionError: If a package, type or hash is not installed; names it and where was searched.
    """
    return _load(name, tuple(installation_prefixes() if prefixes is None else prefixes))


@lru_cache(maxsize=256)
def _load(name: str, prefixes: tuple[Path, ...]) -> TypeDefinition:
    parts = name.split("/")
    if len(parts) != 3 or parts[1] != "msg":
        raise TypeDefinitionError(f"{name!r} is not a message type name; expected package/msg/Type")
    return TypeDefinition(name, _full_text(parts[0], parts[2], prefixes, set()), _type_hash(name, prefixes))


def _full_text(package: str, type_name: str, prefixes: tuple[Path, ...], seen: set[str]) -> str:
    # Not read_text: line ends stay as they are in the file.
    text = _find(package, f"{type_name}.msg", prefixes).read_bytes().decode()
    result = text
    for dependency in sorted(_dependencies(text, package)):
        if dependency in seen:
            continue
        seen.add(dependency)
        dependency_package, _, dependency_name = dependency.rpartition("/")
        nested = _full_text(dependency_package.split("/")[0], dependency_name, prefixes, seen)
        result += f"\n{_DELIMITER}{dependency}\n{nested}"
    return result


def _dependencies(text: str, package: str) -> set[str]:
    found = {match.group(1) for match in _FIELD_TYPE.finditer(text)} - _PRIMITIVES
    return {name if "/" in name else f"{package}/{name}" for name in found}


def _type_hash(name: str, prefixes: tuple[Path, ...]) -> str:
    package, _, type_name = name.split("/")
    document = json.loads(_find(package, f"{type_name}.json", prefixes).read_text(encoding="utf-8"))
    for entry in document.get("type_hashes", []):
        if entry["type_name"] == name:
            return str(entry["hash_string"])
    raise TypeDefinitionError(f"the type description of {name} carries no hash of it")


def _find(package: str, file_name: str, prefixes: tuple[Path, ...]) -> Path:
    for prefix in prefixes:
        path = prefix / "share" / package / "msg" / file_name
        if path.is_file():
            return path
    searched = ", ".join(str(prefix) for prefix in prefixes)
    raise TypeDefinitionError(f"{package}/msg/{file_name} is not installed under {searched}")
