"""Writes latencies into a contract's YAML file: only the numbers change, every comment and line stays as it is.

A YAML library that reads and writes again moves comments and blank lines; here the places of the values are looked up
in the parsed document, and the text is changed there. What comes out is parsed and compared before it is written.
"""

from __future__ import annotations

import datetime
import difflib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from dp_core.contract import Contract, config_directory

from dp_bringup.calibration.estimate import CalibrationError, LatencyEstimate

LATENCY, UNCERTAINTY = "latency_s", "latency_uncertainty_s"


def contract_path(cell: str | Path) -> Path:
    """The file of a cell that :func:`dp_core.contract.load_contract` reads."""
    path = Path(cell)
    return path if path.suffix in (".yaml", ".yml") else config_directory() / "cells" / f"{cell}.yaml"


def with_latency(text: str, estimate: LatencyEstimate) -> str:
    """The text of a contract with an estimate in its place.

    Raises:
        CalibrationError: the file has no such place, or it is not written in a way that can be changed safely.
    """
    values = {LATENCY: f"{estimate.latency_s:.4f}", UNCERTAINTY: f"{estimate.uncertainty_s:.4f}"}
    where = ".".join(estimate.place)
    changed = text
    for key, value in values.items():
        mapping = _mapping(changed, estimate.place)
        changed = _with_value(changed, mapping, key, value, after=LATENCY if key == UNCERTAINTY else "rate_hz")
    # Through JSON, so that what an alias shares in the file is not shared here: one place is meant.
    wanted = json.loads(json.dumps(yaml.safe_load(text)))
    place = wanted
    for name in estimate.place:
        place = place[name]
    place.update({key: float(value) for key, value in values.items()})
    try:
        same = json.loads(json.dumps(yaml.safe_load(changed))) == wanted
    except yaml.YAMLError:
        same = False
    if not same:
        raise CalibrationError(
            f"{where}: the contract is written in a way that cannot be changed safely (an alias, or a value over "
            f"several lines); write {LATENCY}: {values[LATENCY]} and {UNCERTAINTY}: {values[UNCERTAINTY]} by hand"
        )
    Contract.from_dict(wanted, source=f"the contract with the new {where}.{LATENCY}")
    return changed


def _mapping(text: str, place: tuple[str, ...]) -> yaml.MappingNode:
    node = yaml.compose(text)
    for depth, name in enumerate(place):
        found = [value for key, value in node.value if key.value == name] if isinstance(node, yaml.MappingNode) else []
        if not found:
            raise CalibrationError(f"the contract has no section {'.'.join(place[: depth + 1])}")
        node = found[0]
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise CalibrationError(f"{'.'.join(place)} of the contract holds no keys")
    return node


def _with_value(text: str, mapping: yaml.MappingNode, key: str, value: str, after: str) -> str:
    """Replace the value of a key, or add the key after another one (the first one where that is missing)."""
    nodes = {name.value: (name, content) for name, content in mapping.value}
    if key in nodes:
        content = nodes[key][1]
        return text[: content.start_mark.index] + _padded(value, text, content)
    scalars = [name for name, (_, content) in nodes.items() if isinstance(content, yaml.ScalarNode)]
    if not scalars:
        raise CalibrationError(f"no place for {key}: write it by hand")
    name, content = nodes[after if after in scalars else scalars[0]]
    if mapping.flow_style:
        return f"{text[: content.end_mark.index]}, {key}: {value}{text[content.end_mark.index :]}"
    line_end = text.find("\n", content.end_mark.index)
    head, tail = (text, "") if line_end < 0 else (text[:line_end], text[line_end:])
    return f"{head}\n{' ' * name.start_mark.column}{key}: {value}{tail}"


def _padded(value: str, text: str, content: yaml.Node) -> str:
    """The value and what follows it, a comment on its line kept in its column where there is room."""
    rest = text[content.end_mark.index :]
    blanks = len(rest) - len(rest.lstrip(" "))
    if not rest[blanks:].startswith("#"):
        return value + rest
    longer = len(value) - (content.end_mark.index - content.start_mark.index)
    return value + " " * max(2, blanks - longer) + rest[blanks:]


def text_difference(before: str, after: str, name: str) -> str:
    """The changed lines, as `diff -u` shows them with one line of context."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), name, f"{name} (calibrated)", n=1, lineterm=""
    )
    return "\n".join(lines)


def write_contract(path: Path, text: str, source: Path | None = None) -> Path | None:
    """Write a contract at once and for good; what stood there is kept beside it. A link stays one.

    Args:
        path: the file.
        text: its new content.
        source: where the old content came from, when that is another file (then nothing is kept).

    Returns:
        The backup, `<name>.<time>.bak`, or None where there was no file.
    """
    backup = None
    path = path.resolve()
    if path.exists():
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        backup = path.with_name(f"{path.name}.{stamp}.bak")
        shutil.copy2(path, backup)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    shutil.copymode(path if path.exists() else source or partial, partial)
    os.replace(partial, path)
    return backup


def is_shipped(path: Path) -> bool:
    """Whether a file is one of the configuration folder that belongs to the software."""
    return path.resolve().is_relative_to(config_directory().resolve())


def value_of(contract: Mapping[str, Any], place: tuple[str, ...]) -> tuple[float, float]:
    """Latency and uncertainty that stand in a contract (plain data), s."""
    node: Any = contract
    for name in place:
        node = node[name]
    return float(node[LATENCY]), float(node[UNCERTAINTY])
