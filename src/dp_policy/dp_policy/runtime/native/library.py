"""The compiled kernels: built once per source with whatever compiler is there, or carried by an export."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dp_policy.file_digest import file_sha256
from dp_policy.runtime.processor import missing_flags
from dp_policy.runtime.unavailable import RuntimeUnavailableError

SOURCES = ("unet.cpp", "trunk.cpp")
HEADERS = ("products.hpp",)
#: By the names of the compiler (``-m...``) and of the kernel; what the sources use, so that a library can be carried
#: to any processor that has them.
NEEDED_FLAGS = ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "avx512_vnni")
#: -ffast-math itself would switch off denormal numbers in the whole process.
OPTIONS = (
    *("-O3", "-std=c++17", "-shared", "-fPIC", "-mfma", "-fno-math-errno", "-fno-trapping-math"),
    *("-fno-signed-zeros", "-fassociative-math"),
)
COMPILERS = ("g++", "clang++", "c++")
COMPILE_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class CarriedLibrary:
    """The library of an export.

    Attributes:
        path: of the file.
        sha256: 64 hex digits, as the export says; empty: it says none.
    """

    path: Path
    sha256: str


def library_name() -> str:
    """File name of the library of these sources; another source has another name."""
    digest = hashlib.sha256(" ".join((*OPTIONS, *NEEDED_FLAGS)).encode())
    for source in (*SOURCES, *HEADERS):
        digest.update((Path(__file__).parent / source).read_bytes())
    return f"libdp_policy_{digest.hexdigest()[:12]}.so"


def cache_folder() -> Path:
    """Where compiled libraries are kept: ``$DP_CACHE_DIR``, else ``$XDG_CACHE_HOME/dp_policy``.

    Raises:
        RuntimeUnavailableError: neither is set, and the user has no home.
    """
    if os.environ.get("DP_CACHE_DIR"):
        return Path(os.environ["DP_CACHE_DIR"])
    try:
        home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    except RuntimeError as error:
        raise RuntimeUnavailableError(f"nowhere to keep a compiled library ({error}); set DP_CACHE_DIR") from None
    return Path(home) / "dp_policy"


def find_library(carried: CarriedLibrary | None = None) -> Path:
    """The library, compiled if need be.

    Args:
        carried: that of an export: taken only where none can be compiled, because it is machine code of whoever made
            the export, while all else in a checkpoint is numbers.

    Raises:
        RuntimeUnavailableError: the processor lacks instructions, there is neither library nor compiler, or the carried
            one is not what was exported.
    """
    reason = missing_flags(NEEDED_FLAGS)
    if reason:
        raise RuntimeUnavailableError(reason)
    name = library_name()
    try:
        own = cache_folder() / name
        if not own.is_file():
            compile_library(own)
        _require_own(own)
    except RuntimeUnavailableError:
        if carried is None or carried.path.name != name or not carried.path.is_file():
            raise
        _require_exported(carried)
        return carried.path
    return own


def _require_exported(carried: CarriedLibrary) -> None:
    """Raises RuntimeUnavailableError where the file is not what was exported: damaged code would run all the same."""
    if not carried.sha256:
        raise RuntimeUnavailableError(f"the export has no digest of {carried.path.name}; export it again")
    try:
        found = file_sha256(carried.path)
    except OSError as error:
        raise RuntimeUnavailableError(f"{carried.path} cannot be read: {error}") from None
    if found != carried.sha256:
        raise RuntimeUnavailableError(
            f"{carried.path} is not what was exported: sha256 {found[:12]}, not {carried.sha256[:12]}; copy it again"
        )


def _require_own(path: Path) -> None:
    """Raises RuntimeUnavailableError where somebody else could have put the library there."""
    file, folder = path.stat(), path.parent.stat()
    known = {0, os.getuid()}
    shared = folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX
    if shared or file.st_mode & stat.S_IWOTH or file.st_uid not in known or folder.st_uid not in known:
        raise RuntimeUnavailableError(
            f"others can write {path}, which would run here; set DP_CACHE_DIR to a folder of yours"
        )


def compile_library(target: Path) -> Path:
    """Compile the sources; the library appears whole or not at all.

    Raises:
        RuntimeUnavailableError: there is no compiler, or it failed.
    """
    compiler = next((path for path in map(shutil.which, (os.environ.get("CXX", ""), *COMPILERS)) if path), None)
    if compiler is None:
        raise RuntimeUnavailableError(
            f"no C++ compiler ({', '.join(COMPILERS)}) and no export that carries the library"
        )
    sources = [str(Path(__file__).parent / source) for source in SOURCES]
    flags = [f"-m{flag.replace('avx512_', 'avx512')}" for flag in NEEDED_FLAGS]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            draft = Path(folder) / target.name
            command = [compiler, *OPTIONS, *flags, "-o", str(draft), *sources]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S)
            draft.rename(target)
    except subprocess.CalledProcessError as error:
        raise RuntimeUnavailableError(f"{compiler} failed: {error.stderr.strip()[-300:]}") from None
    except (subprocess.TimeoutExpired, OSError) as error:
        raise RuntimeUnavailableError(f"{compiler} could not write {target}: {error}") from None
    return target


@lru_cache(maxsize=4)
def load_library(path: Path) -> ctypes.CDLL:
    """The library with the types of its functions declared; raises RuntimeUnavailableError."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise RuntimeUnavailableError(f"{path} cannot be loaded: {error}") from None
    handle, number, real, address = ctypes.c_void_p, ctypes.c_int, ctypes.c_float, ctypes.c_void_p
    signatures: dict[str, tuple[object, tuple]] = {
        "dp_network_new": (handle, (number,)),
        "dp_network_delete": (None, (handle,)),
        "dp_network_add_buffer": (number, (handle, number, number)),
        "dp_network_add_product": (number, (handle, address, address, number, number, number)),
        "dp_network_add_norm": (number, (handle, address, address, number, real)),
        "dp_network_add_operation": (None, (handle, address)),
        "dp_network_run": (None, (handle, address, address, address, *(number,) * 5)),
        "dp_trunk_new": (handle, (number, number)),
        "dp_trunk_delete": (None, (handle,)),
        "dp_trunk_add_layer": (None, (handle, address, *(number,) * 4, address, address, number, real)),
        "dp_trunk_run": (None, (handle, address, address)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name, None)
        if function is None:
            raise RuntimeUnavailableError(f"{path} has no {name}: it is not what its name says")
        function.restype, function.argtypes = result, arguments
    return library
