"""What this processor can do, as far as the choice of a runtime depends on it."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path

CPU_INFO = Path("/proc/cpuinfo")


@lru_cache(maxsize=1)
def processor_name() -> str:
    """Model name, or the machine's architecture where the kernel does not tell."""
    return _field("model name") or platform.processor() or platform.machine()


@lru_cache(maxsize=1)
def processor_flags() -> frozenset[str]:
    """Instruction sets by the kernel's names (``avx512_bf16``); empty where the kernel does not tell."""
    return frozenset((_field("flags") or _field("Features")).split())


def missing_flags(needed: tuple[str, ...]) -> str:
    """Why a runtime that needs these instruction sets does not run here; empty: it does."""
    missing = [flag for flag in needed if flag not in processor_flags()]
    return f"the processor has no {', '.join(missing)}" if missing else ""


def _field(name: str) -> str:
    if not CPU_INFO.is_file():
        return ""
    lines = (line.partition(":") for line in CPU_INFO.read_text(encoding="utf-8").splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "")
