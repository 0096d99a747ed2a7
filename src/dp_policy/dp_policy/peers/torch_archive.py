"""Files of ``torch.save``: the zip archive, its pickle as plain data, and tensors read one by one."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from dp_policy.peers.errors import PeerCheckpointError
from dp_policy.peers.restricted_pickle import Storage, StoredTensor, read_pickle

#: Begins the files that torch wrote before 1.6: the pickled magic number.
LEGACY_BEGINNING = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
#: No configuration and list of tensors is as large as this; a larger one is meant to fill the memory.
LARGEST_PICKLE_BYTES = 1 << 28
#: Names of one state dict may share numbers (a module that is part of two), but not every name the same ones.
MOST_COPIES = 8
#: What reading a zip archive raises if it is damaged; the last two for features that torch.save does not use.
UNREADABLE = (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError)


class TorchArchive:
    """A checkpoint file, open for reading; use it in a ``with`` block.

    Attributes:
        content: what was saved, tensors as :class:`StoredTensor`, settings as :class:`ConfigNode`.

    Raises:
        PeerCheckpointError: the file is missing, foreign, damaged, or asks for code.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise PeerCheckpointError(f"no checkpoint file {path}")
        if not zipfile.is_zipfile(path):
            raise PeerCheckpointError(f"{path.name} {_foreign(path)}")
        try:
            self._zip = zipfile.ZipFile(path)
        except UNREADABLE as error:
            raise PeerCheckpointError(f"{path.name} is damaged: {error}") from None
        try:
            pickles = [name for name in self._zip.namelist() if name.split("/")[1:] == ["data.pkl"]]
            if len(pickles) != 1:
                raise PeerCheckpointError(f"{path.name} is a zip file, but not one that torch.save wrote")
            self._root = pickles[0].split("/")[0]
            if f"{self._root}/byteorder" in self._zip.namelist() and self._entry("byteorder") != b"little":
                raise PeerCheckpointError(f"{path.name} was written on a big-endian machine")
            self.content: Any = read_pickle(self._entry("data.pkl", LARGEST_PICKLE_BYTES))
        except PeerCheckpointError:
            self._zip.close()
            raise
        except UNREADABLE as error:
            self._zip.close()
            raise PeerCheckpointError(f"{path.name} is damaged: {error}") from None

    def __enter__(self) -> TorchArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def load(self, tensor: StoredTensor) -> Tensor:
        """Read one tensor; a copy on the processor.

        Raises:
            PeerCheckpointError: its numbers are not all in the file.
        """
        storage = tensor.storage
        data = self._entry(f"data/{storage.key}", storage.count * storage.dtype.itemsize)
        empty = 0 in tensor.size
        last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.size, tensor.stride, strict=True))
        within = empty or (last < storage.count and math.prod(tensor.size) <= storage.count)
        if len(data) != storage.count * storage.dtype.itemsize or not within:
            raise PeerCheckpointError(f"{self.path.name} is damaged: tensor {storage.key} is cut short")
        try:
            if empty:
                return torch.empty(tensor.size, dtype=storage.dtype)
            numbers = torch.frombuffer(bytearray(data), dtype=storage.dtype)
            view = numbers.as_strided(tensor.size, tensor.stride, tensor.offset)
        except (RuntimeError, TypeError, OverflowError):  # numbers beyond 64 bits
            raise PeerCheckpointError(f"{self.path.name} is damaged: tensor {storage.key} has no valid size") from None
        return view.clone(memory_format=torch.contiguous_format)

    def load_all(self, tensors: Any, where: str) -> dict[str, Tensor]:
        """Read a state dict.

        Raises:
            PeerCheckpointError: it is none, or a tensor of it is damaged.
        """
        if not isinstance(tensors, dict):
            raise PeerCheckpointError(f"{where} is a {type(tensors).__name__}, not a state dict")
        foreign = [name for name, value in tensors.items() if not isinstance(value, StoredTensor)]
        if foreign:
            raise PeerCheckpointError(f"{where}: {foreign[0]!r} is not a tensor")
        needed = sum(math.prod(value.size) * value.storage.dtype.itemsize for value in tensors.values())
        if needed > MOST_COPIES * self.path.stat().st_size:
            raise PeerCheckpointError(f"{where}: its tensors need {needed} bytes, far more than the file has")
        return {str(name): self.load(value) for name, value in tensors.items()}

    def _entry(self, name: str, largest: int = 64) -> bytes:
        try:
            info = self._zip.getinfo(f"{self._root}/{name}")
        except KeyError:
            raise PeerCheckpointError(f"{self.path.name} is damaged: {name} is missing") from None
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > largest:
            raise PeerCheckpointError(f"{self.path.name} is damaged: {name} has {info.file_size} bytes")
        try:
            return self._zip.read(info)
        except UNREADABLE as error:
            raise PeerCheckpointError(f"{self.path.name} is damaged: {name}: {error}") from None


def _foreign(path: Path) -> str:
    with path.open("rb") as file:
        beginning = file.read(len(LEGACY_BEGINNING))
    if beginning == LEGACY_BEGINNING:
        return "has the format of torch before 1.6; load it with that torch and save it with a newer one"
    return "is not a file that torch.save wrote"


__all__ = ["Storage", "StoredTensor", "TorchArchive"]
