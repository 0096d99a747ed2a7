"""Nothing in a checkpoint file is run: a file that asks for a function is refused, whatever it looks like otherwise."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from dp_policy.peers.errors import PeerCheckpointError
from dp_policy.peers.importing import read_peer
from dp_policy.peers.restricted_pickle import UnsafePickleError, read_pickle
from dp_policy.peers.torch_archive import TorchArchive

from .checkpoint_files import write_real_stanford
from .published_policies import lowdim_unet


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.args


def attacks(marker: Path) -> dict[str, tuple[Any, str]]:
    """Ways to have ``marker`` made by whoever loads the file, and what the refusal must name."""
    make = f"touch {marker}"
    python = f"open({str(marker)!r}, 'w')"
    return {
        "system": (Call(os.system, make), "posix.system"),
        "eval": (Call(builtins.eval, python), "__builtin__.eval"),
        "exec": (Call(builtins.exec, python), "__builtin__.exec"),
        "process": (
            Call(subprocess.Popen, ["touch", str(marker)]),
            "commands.Popen",
        ),  # its name in the protocol that torch writes
        "nested": (Call(torch._utils._rebuild_tensor_v2, Call(os.system, make), 0, (), ()), "posix.system"),
        "attribute": (Call(getattr, Call(__import__, "os"), "system"), "__builtin__.getattr"),
        "import": (Call(__import__, "antigravity"), "__builtin__.__import__"),
        "torch": (Call(torch.load, str(marker)), "torch.serialization.load"),
        "numpy": (Call(torch.jit.load, str(marker)), "torch.jit"),
    }


@pytest.mark.parametrize("name", list(attacks(Path("x"))))
@pytest.mark.parametrize("place", ["cfg", "state_dicts", "beside"])
def test_a_file_that_asks_for_code_is_refused_and_nothing_runs(tmp_path: Path, name: str, place: str) -> None:
    marker = tmp_path / "was_run"
    attack, named = attacks(marker)[name]
    peer = lowdim_unet()
    path = write_real_stanford(tmp_path / "a.ckpt", peer.cfg, {"model": {}}, **{place: {"model": attack}})
    with pytest.raises(UnsafePickleError, match=f"asks for {named}.*nothing was run"):
        read_peer(path)
    assert not marker.exists()
    if name in ("system", "eval", "exec"):  # the attack is real: an ordinary unpickler runs it
        torch.load(path, weights_only=False, pickle_module=_without_omegaconf())
        assert marker.exists()


def _without_omegaconf() -> Any:
    """An ordinary unpickler, for files whose OmegaConf classes exist only while they are written."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if module.startswith("omegaconf"):
                return type(name, (), {})
            return (lambda *args: dict) if module.startswith("dill") else super().find_class(module, name)

    class Module:
        load, Unpickler = pickle.load, None

    Module.Unpickler = Unpickler  # type: ignore[assignment]
    return Module


def test_bytes_that_hold_another_pickle_are_never_opened(tmp_path: Path) -> None:
    marker = tmp_path / "was_run"
    hidden = pickle.dumps(Call(os.system, f"touch {marker}"))
    peer = lowdim_unet()
    path = write_real_stanford(tmp_path / "a.ckpt", peer.cfg, {"model": peer.state()}, pickles={"epoch": hidden})
    read_peer(path)
    assert not marker.exists()
    pickle.loads(hidden)
    assert marker.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x04\x8c\x0bcollections\x8c\x16OrderedDict.fromkeys.x\x93.",  # a dotted name of an allowed module
        b"cdill._dill\n_load_type\n(S'__defaults__'\nNtb.",  # BUILD on a function of ours
        b"cdill._dill\n_load_type\nN}S'_function'\nNs\x86b.",  # the same, by attribute
        b"comegaconf.dictconfig\nDictConfig\nN}S'__setstate__'\nNs\x86b.",  # BUILD on a class of ours
        b"comegaconf.dictconfig\nDictConfig\n)\x81N}S'__class__'\nNs\x86b.",
        b"\x82\x01.",  # the registry of extensions
        b"iposix\nsystem\n.",
        b"(S'touch x'\niposix\nsystem\n.",
        b"(cposix\nsystem\nS'touch x'\no.",
        b"ctorch\nFloatStorage\n)R.",  # a number type is not callable
        b"cbuiltins\nobject\n)\x81.",
        b"c__builtin__\nobject\n)\x81.",
        b"cdp_policy.peers.restricted_pickle\nread_pickle\n.",
    ],
)
def test_stand_ins_cannot_be_called_into_something_else_or_changed(program: bytes) -> None:
    try:
        read_pickle(program)
    except PeerCheckpointError:
        pass
    config = b"comegaconf.nodes\nAnyNode\n)\x81}S'_val'\nI7\nsb."
    assert read_pickle(config).content == 7
    assert read_pickle(b"cdill._dill\n_load_type\n(S'dict'\ntR.") == "type dict"


def test_a_storage_cannot_be_changed_after_it_was_checked() -> None:
    storage = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQ"
    assert read_pickle(storage + b".").count == 4
    for state in (b"}S'count'\nI9\ns", b"N}S'count'\nI9\ns\x86"):
        with pytest.raises(UnsafePickleError, match="tries to change a tensor's storage"):
            read_pickle(storage + state + b"b.")


def test_every_name_that_is_not_listed_is_refused() -> None:
    for name in (b"cposix\nsystem\n.", b"cbuiltins\neval\n.", b"ctorch\nTensor\n.", b"cnumpy\nndarray\n."):
        with pytest.raises(UnsafePickleError, match=name[1:].split(b"\n")[0].decode()):
            read_pickle(name)


def _archive(path: Path, data: bytes, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", data)
        for name, content in entries.items():
            file.writestr(f"archive/{name}", content)
    return path


def _with_byte(path: Path, after: bytes, offset: int, value: int) -> None:
    """Change one byte of a file, counted from the first place of ``after``."""
    data = bytearray(path.read_bytes())
    data[data.index(after) + offset] = value
    path.write_bytes(data)


def _tensor_program(size: int, stride: int, offset: int, count: int = 4) -> bytes:
    """A pickle of {'t': tensor}, by the opcodes that torch writes."""
    buffer = io.BytesIO()
    buffer.write(b"\x80\x02}X\x01\x00\x00\x00tctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage")
    buffer.write(b"ctorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK" + bytes([count]) + b"tQ")
    numbers = b"K" + bytes([offset]) + b"(K" + bytes([size]) + b"t(K" + bytes([stride]) + b"t"
    buffer.write(numbers + b"\x89}tRs.")
    return buffer.getvalue()


def test_tensors_are_read_as_torch_reads_them(tmp_path: Path) -> None:
    whole = torch.arange(24.0).view(4, 6)
    saved = {
        "view": whole[1:, ::2],
        "transposed": whole.T,
        "half": whole.half(),
        "bfloat": whole.bfloat16(),
        "whole numbers": torch.arange(5),
        "flags": torch.tensor([True, False]),
        "one": torch.tensor(3.5),
        "none": torch.zeros(0, 3),
    }
    torch.save(saved, tmp_path / "a.pt")
    with TorchArchive(tmp_path / "a.pt") as archive:
        read = archive.load_all(archive.content, "")
    for name, tensor in saved.items():
        assert torch.equal(read[name], tensor), name
        assert read[name].dtype == tensor.dtype


@pytest.mark.parametrize(
    ("program", "text"),
    [
        (_tensor_program(size=5, stride=1, offset=0), "cut short"),
        (_tensor_program(size=2, stride=2, offset=2), "cut short"),
        (_tensor_program(size=2, stride=1, offset=0, count=9), "cut short"),
        (_tensor_program(size=200, stride=0, offset=0), "cut short"),  # few numbers cannot become many
    ],
)
def test_tensors_that_reach_past_their_numbers_are_refused(tmp_path: Path, program: bytes, text: str) -> None:
    path = _archive(tmp_path / "a.pt", program, {"data/0": b"\0" * 16})
    with TorchArchive(path) as archive, pytest.raises(PeerCheckpointError, match=text):
        archive.load_all(archive.content, "")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: path.write_bytes(b"no checkpoint"), "is not a file that torch.save wrote"),
        (lambda path: path.write_bytes(b""), "is not a file that torch.save wrote"),
        (lambda path: torch.save({}, path, _use_new_zipfile_serialization=False), "format of torch before 1.6"),
        (lambda path: zipfile.ZipFile(path, "w").close(), "not one that torch.save wrote"),
        (lambda path: _archive(path, b"\x80\x02}", {}), "is damaged"),
        (lambda path: _archive(path, b"\x80\x02}.", {}, zipfile.ZIP_DEFLATED), "is damaged"),
        (lambda path: _archive(path, b"\x80\x02}.", {"byteorder": b"big"}), "big-endian"),
        (lambda path: _with_byte(_archive(path, b"\x80\x02}.", {}), b"PK\x01\x02", 0, 0), "is damaged"),
        (lambda path: _with_byte(_archive(path, b"\x80\x02}.", {}), b"PK\x01\x02", 6, 99), "is damaged"),  # version
        (lambda path: _with_byte(_archive(path, b"\x80\x02}.", {}), b"PK\x01\x02", 8, 1), "is damaged"),  # encrypted
        (lambda path: _archive(path, b"\x80\x02K\x01Q.", {}), "not a tensor's storage"),
        (lambda path: torch.save({"model": {}}, path), "no cfg and state_dicts"),
        (lambda path: torch.save([1, 2], path), "no cfg and state_dicts"),
    ],
)
def test_damaged_and_foreign_files_say_what_is_wrong(tmp_path: Path, make: Any, text: str) -> None:
    make(tmp_path / "a.ckpt")
    with pytest.raises(PeerCheckpointError, match=text):
        read_peer(tmp_path / "a.ckpt")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    peer = lowdim_unet()
    whole = write_real_stanford(tmp_path / "a.ckpt", peer.cfg, {"model": peer.state()}).read_bytes()
    for share in (0.1, 0.5, 0.9, 0.999):
        (tmp_path / "cut.ckpt").write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(PeerCheckpointError):
            read_peer(tmp_path / "cut.ckpt")


def test_a_file_cannot_fill_the_memory(tmp_path: Path) -> None:
    with pytest.raises(PeerCheckpointError, match="numbers an object"):
        read_pickle(b"\x80\x02}r\xff\xff\xff\x7f.")
    bomb: list[Any] = ["x"] * 10
    for _ in range(20):
        bomb = [bomb] * 10  # 10^21 values in a few hundred bytes
    loop: list[Any] = []
    loop.append(loop)
    nested = b"(" + b"K\x01" + b"".join(b"q%c(h%ch%ct" % (i, i, i) for i in range(60)) + b"tR."
    for called in (b"cdill._dill\n_load_type\n", b"ctorch._utils\n_rebuild_tensor_v2\n"):
        with pytest.raises(PeerCheckpointError, match="is damaged"):  # 2^60 numbers if they were written out
            read_pickle(called + nested)
    torch.save({str(i): torch.zeros(1000).expand(1, 1000) for i in range(9)}, tmp_path / "own.pt")
    shared = torch.zeros(1000)
    torch.save({str(i): shared for i in range(100)}, tmp_path / "shared.pt")
    with TorchArchive(tmp_path / "own.pt") as archive:
        assert len(archive.load_all(archive.content, "")) == 9
    with TorchArchive(tmp_path / "shared.pt") as archive, pytest.raises(PeerCheckpointError, match="far more than"):
        archive.load_all(archive.content, "")
    peer = lowdim_unet()
    for value in (bomb, loop):
        cfg = {"policy": {**peer.cfg["policy"], "horizon": 8}}
        path = write_real_stanford(tmp_path / "a.ckpt", {}, {"model": {}}, cfg={**cfg, "policy": {"model": value}})
        with pytest.raises(PeerCheckpointError, match="no end of settings"):
            read_peer(path)
    cfg = {"policy": {**peer.cfg["policy"], "model": {**peer.cfg["policy"]["model"], "down_dims": [96_000, 32]}}}
    path = write_real_stanford(tmp_path / "a.ckpt", cfg, {"model": peer.state()})
    with pytest.raises(PeerCheckpointError, match="weights do not fit"):
        read_peer(path)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(PeerCheckpointError, match="nothing at"):
        read_peer(tmp_path / "absent.ckpt")
