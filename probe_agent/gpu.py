"""GPUs as NVML sees them. A node without one, or without the library, simply has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def _nvml() -> Iterator[Any]:
    """Yield the library, initialised, or None where it cannot be."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # an absent package, library or driver all mean: no GPU to read
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def devices() -> list[dict[str, Any]]:
    """Return name, UUID and memory (MiB) of each GPU."""
    with _nvml() as nvml:
        if nvml is None:
            return []
        handles = [nvml.nvmlDeviceGetHandleByIndex(number) for number in range(nvml.nvmlDeviceGetCount())]
        return [
            {
                "name": nvml.nvmlDeviceGetName(handle),
                "uuid": nvml.nvmlDeviceGetUUID(handle),
                "memory_mb": nvml.nvmlDeviceGetMemoryInfo(handle).total >> 20,
                "memory_used_mb": nvml.nvmlDeviceGetMemoryInfo(handle).used >> 20,
            }
            for handle in handles
        ]


def driver() -> str | None:
    with _nvml() as nvml:
        return nvml.nvmlSystemGetDriverVersion() if nvml else None
