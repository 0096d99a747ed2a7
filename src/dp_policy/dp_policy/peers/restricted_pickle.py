"""Reads the pickle inside a torch checkpoint as plain data; nothing that the file names is imported or called.

A pickle is a program: it names functions of any module and has them called. Here every name is looked up in
:data:`STAND_INS`, which holds the few names that checkpoints of diffusion_policy are written with, each as something
of ours that only keeps data. Every other name ends the reading.
"""

from __future__ import annotations

import itertools
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NoReturn

import torch

from dp_policy.peers.errors import PeerCheckpointError

#: No policy's configuration is as long or as deep; one that is refers to itself.
MOST_SETTINGS, DEEPEST_SETTING = 10_000, 50
#: Of a tensor.
MOST_DIMENSIONS = 16


class UnsafePickleError(PeerCheckpointError):
    """The file asks for a function or class that is not plain data."""


class _Sealed(type):
    """A class that a pickle cannot change (the opcode BUILD sets attributes of whatever lies on the stack)."""

    def __setattr__(cls, name: str, value: object) -> NoReturn:
        raise UnsafePickleError(f"the file tries to change the class {cls.__name__}")


class _Call(metaclass=_Sealed):
    """A function that a pickle can call but not change."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return object.__getattribute__(self, "_function")(*args)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise UnsafePickleError("the file tries to change a function")


class ConfigNode(metaclass=_Sealed):
    """Stands in for every OmegaConf node and its metadata; ``content`` is what the node holds."""

    __slots__ = ("content",)

    def __init__(self, content: Any = None) -> None:
        self.content = content

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):  # containers keep their children, values their value
            self.content = state.get("_content", state.get("_val"))


@dataclass(frozen=True)
class Storage:
    """Where the numbers of a tensor are: the archive's entry ``data/<key>``, ``count`` numbers of ``dtype``."""

    dtype: torch.dtype
    key: str
    count: int

    def __setstate__(self, state: Any) -> NoReturn:  # frozen alone does not keep BUILD from writing to __dict__
        raise UnsafePickleError("the file tries to change a tensor's storage")


class StoredTensor(metaclass=_Sealed):
    """A tensor that is still in the file."""

    __slots__ = ("offset", "size", "storage", "stride")

    def __init__(self, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.storage, self.offset, self.size, self.stride = storage, offset, size, stride

    def __setstate__(self, state: Any) -> NoReturn:
        raise UnsafePickleError("the file tries to change a tensor")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *unused: Any) -> StoredTensor:
    if not isinstance(storage, Storage) or len(size) != len(stride):
        raise PeerCheckpointError("the file is damaged: a tensor without storage")
    numbers = (offset, *size, *stride)
    # not named in the text: written out, a few nested lists can fill the memory
    if len(size) > MOST_DIMENSIONS or not all(type(number) is int and number >= 0 for number in numbers):
        raise PeerCheckpointError("the file is damaged: a tensor whose size, stride or offset is no whole number")
    return StoredTensor(storage, offset, tuple(size), tuple(stride))


def _parameter(data: Any, *unused: Any) -> Any:
    return data


def _bytes(text: Any, encoding: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise PeerCheckpointError("the file is damaged: bytes that are not latin1")
    return text.encode("latin1")


def _type_name(name: Any) -> str:
    if not isinstance(name, str):
        raise PeerCheckpointError("the file is damaged: a type without a name")
    return f"type {name}"


def _dictionary(*unused: Any) -> dict[Any, Any]:
    return {}


_NODES = (
    "omegaconf.dictconfig DictConfig",
    "omegaconf.listconfig ListConfig",
    "omegaconf.base Metadata",
    "omegaconf.base ContainerMetadata",
    *(f"omegaconf.nodes {kind}Node" for kind in ("Any", "Integer", "Float", "Boolean", "String")),
)
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
#: What a name in the file stands for. The writers are torch.save with dill, and OmegaConf.
STAND_INS: dict[str, Any] = {
    **dict.fromkeys(_NODES, ConfigNode),
    **{f"torch {name}": dtype for name, dtype in _STORAGES.items()},
    "torch._utils _rebuild_tensor_v2": _Call(_tensor),
    "torch._utils _rebuild_parameter": _Call(_parameter),
    "collections OrderedDict": OrderedDict,
    "collections defaultdict": _Call(_dictionary),
    "_codecs encode": _Call(_bytes),
    "dill._dill _load_type": _Call(_type_name),
    "typing Any": "typing.Any",
}


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return STAND_INS[f"{module} {name}"]
        except KeyError:
            raise UnsafePickleError(
                f"the file asks for {module}.{name}, which is not plain data; nothing was run. Only tensors, "
                "containers and OmegaConf settings are read"
            ) from None

    def persistent_load(self, pid: Any) -> Storage:
        match pid:
            case ("storage", torch.dtype() as dtype, str() as key, str(), int() as count) if count >= 0:
                return Storage(dtype, key, count)
        raise PeerCheckpointError("the file is damaged: a reference that is not a tensor's storage")


def _check_memo(data: bytes) -> None:
    """Refuse numbers of remembered objects that no file of this length can have: they would fill the memory."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and not 0 <= int(argument or 0) <= len(data):
            raise PeerCheckpointError(f"the file is damaged: it numbers an object {argument}")


def read_pickle(data: bytes) -> Any:
    """The content of a torch checkpoint's ``data.pkl``, with :class:`ConfigNode` and :class:`StoredTensor` inside.

    Raises:
        UnsafePickleError: the file asks for a function or class that is not plain data; the text names it.
        PeerCheckpointError: the data is damaged.
    """
    try:
        _check_memo(data)
        return _RestrictedUnpickler(BytesIO(data)).load()
    except PeerCheckpointError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise PeerCheckpointError(f"the file is damaged: {type(error).__name__}: {error}") from None


def plain_settings(node: Any, where: str, count: Iterator[int] | None = None) -> Any:
    """Dicts, lists and values of an OmegaConf tree.

    Args:
        node: a :class:`ConfigNode` or plain value.
        where: dotted name of the place, for errors.
        count: of the nodes visited so far; None: begins.

    Raises:
        PeerCheckpointError: a value is an interpolation that was never resolved, or missing, or not plain, or there is
            no end of values.
    """
    count = itertools.count() if count is None else count
    if next(count) > MOST_SETTINGS or where.count(".") + where.count("[") > DEEPEST_SETTING:
        raise PeerCheckpointError(f"{where}: no end of settings")
    value = node.content if isinstance(node, ConfigNode) else node
    if isinstance(value, dict):
        return {str(key): plain_settings(item, f"{where}.{key}", count) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_settings(item, f"{where}[{index}]", count) for index, item in enumerate(value)]
    if isinstance(value, str) and ("${" in value or value == "???"):
        raise PeerCheckpointError(f"{where} = {value!r} is open; resolve the configuration before saving")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise PeerCheckpointError(f"{where} is a {type(value).__name__}, not a setting")
