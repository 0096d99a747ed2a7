"""The compiled kernels: built once per source with whatever compiler is there, or carried by an export."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

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


def library_name() -> str:
    """File name of the library of these sources; another source has another name."""
    digest = hashlib.sha256(" ".join((*OPTIONS, *NEEDED_FLAGS)).encode())
    for source in (*SOURCES, *HEADERS):
        digest.update((Path(__file__).parent / source).read_bytes())
    return f"libdp_policy_{digest.hexdigest()[:12]}.so"


def cache_folder() -> Path:
    """Where compiled libraries are kept: ``$DP_CACHE_DIR``, else ``$XDG_CACHE_HOME/dp_policy``."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("DP_CACHE_DIR") or Path(home) / "dp_policy")


def find_library(carried: Path | None = None) -> Path:
    """The library, compiled if need be.

    Args:
        carried: folder of an export that may hold it.

    Raises:
        RuntimeUnavailableError: the processor lacks instructions, or there is neither library nor compiler.
    """
    reason = missing_flags(NEEDED_FLAGS)
    if reason:
        raise RuntimeUnavailableError(reason)
    name = library_name()
    for folder in (carried, cache_folder()):
        if folder is not None and (folder / name).is_file():
            return folder / name
    return compile_library(cache_folder() / name)


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
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
