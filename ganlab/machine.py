"""The machine: its device, the precision that it multiplies in, and the provenance of a result."""

import datetime
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ganlab
from ganlab.errors import ConfigError


def device(wanted: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` -> the device. Raises ``ConfigError`` for a GPU that is not there."""
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise ConfigError("device is cuda, but torch finds no GPU here: use device cpu or auto")
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


def precision(wanted: str, device: torch.device) -> str:
    """``auto``, ``bf16`` or ``fp32`` -> what a training multiplies in on the device.

    Raises ``ConfigError`` for bf16 where the hardware does not multiply it: torch then takes kernels 25 times slower.
    """
    native = native_precision(device)
    if wanted == "bf16" and native != "bf16":
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
        raise ConfigError(
            f"precision is bf16, which this {device.type} ({name}) does not multiply: it would train about 25 "
            "times slower than fp32; use precision auto or fp32"
        )
    return native if wanted == "auto" else wanted


def native_precision(device: torch.device) -> str:
    """``bf16`` where the hardware multiplies bf16 natively (AMX, AVX512-BF16, GPUs from compute 8.0), else ``fp32``."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp32"
    # The public torch.cpu.get_capabilities() is younger than the oldest torch that ganlab runs on.
    native = torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return "bf16" if native else "fp32"


def provenance() -> dict[str, Any]:
    """Where a result came from: versions, commit, hardware, threads, date."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {
            "ganlab": ganlab.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "cpu": _cpu_name(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": f"{sys.platform} {platform.machine()}",
    }


def _commit() -> str | None:
    """The checkout's commit, with ``+`` if it has changes. Outside a checkout, as in a container: ``GANLAB_COMMIT``."""
    if given := os.environ.get("GANLAB_COMMIT"):
        return given
    here = Path(__file__).parent
    try:
        asked = [["rev-parse", "--short=12", "HEAD"], ["status", "--porcelain", "--untracked-files=no"]]
        head, changes = (
            subprocess.run(["git", "-C", here, *words], capture_output=True, text=True, check=True).stdout.strip()
            for words in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+" if changes else "")


def _cpu_name() -> str:
    try:
        return re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text()).group(1)
    except (OSError, AttributeError):
        return platform.processor() or platform.machine()
