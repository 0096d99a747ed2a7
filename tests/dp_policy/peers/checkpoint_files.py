"""Writers of checkpoint files in the format of the peers, without the peers.

A real-stanford checkpoint is written by torch.save with dill and holds OmegaConf nodes. Both are replaced by throwaway
modules of their names while the file is written; the names and the order of the opcodes in the file are theirs.
"""

from __future__ import annotations

import collections
import contextlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

_NODES = {
    "omegaconf.dictconfig": ("DictConfig",),
    "omegaconf.listconfig": ("ListConfig",),
    "omegaconf.nodes": ("AnyNode",),
    "omegaconf.base": ("Metadata", "ContainerMetadata"),
}


class _Called:
    """Pickles as the call of a function of another module."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.args


@contextlib.contextmanager
def _throwaway_modules() -> Iterator[dict[str, Any]]:
    made: dict[str, Any] = {}
    modules: dict[str, types.ModuleType] = {}
    for name in ("omegaconf", *_NODES, "dill", "dill._dill"):
        modules[name] = types.ModuleType(name)
    for name, classes in _NODES.items():
        for kind in classes:
            made[kind] = type(kind, (), {"__module__": name})
            setattr(modules[name], kind, made[kind])

    def load_type(name: str) -> None: ...

    load_type.__module__, load_type.__qualname__, load_type.__name__ = "dill._dill", "_load_type", "_load_type"
    modules["dill._dill"]._load_type = made["_load_type"] = load_type  # type: ignore[attr-defined]
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield made
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _node(value: Any, parent: Any, made: dict[str, Any]) -> Any:
    """One OmegaConf node with metadata and parent, as OmegaConf pickles it."""
    container = isinstance(value, (dict, list, tuple))
    metadata = made["ContainerMetadata" if container else "Metadata"]()
    kind = _Called(made["_load_type"], "dict")
    metadata.__dict__.update(ref_type=Any, object_type=kind, optional=True, key=None, flags={}, flags_root=False)
    metadata.resolver_cache = _Called(collections.defaultdict, kind)
    node = made["DictConfig" if isinstance(value, dict) else "ListConfig" if container else "AnyNode"]()
    node.__dict__.update(_metadata=metadata, _parent=parent)
    if isinstance(value, dict):
        node._content = {key: _node(item, node, made) for key, item in value.items()}
    elif container:
        node._content = [_node(item, node, made) for item in value]
    else:
        node._val = value
    return node


def write_real_stanford(path: Path, cfg: dict[str, Any], states: dict[str, Any], /, **changes: Any) -> Path:
    """Write ``{cfg, state_dicts, pickles}``; ``changes`` replace entries of it."""
    with _throwaway_modules() as made:
        optimiser = {"state": {0: {"step": torch.tensor(1234.0), "exp_avg": torch.zeros(3)}}, "param_groups": []}
        payload = {
            "cfg": _node(cfg, None, made),
            "state_dicts": {**states, "optimizer": optimiser},
            "pickles": {"_output_dir": b"\x80\x04K\x01.", "epoch": b"\x80\x04K\x02."},
        }
        torch.save({**payload, **changes}, path)
    return path
