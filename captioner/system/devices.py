"""The devices of the machine, found without importing torch, which the app's own process never needs."""

import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from captioner.errors import ModelError
from captioner.system.resources import Gpu, nvidia_gpus

CUDA_MISSING = (
    "an NVIDIA GPU is present, but the installed torch was built without CUDA and cannot use it; "
    "docs/troubleshooting.md has the one command that installs the right one"
)


def expand_devices(devices: tuple[str, ...]) -> tuple[str, ...]:
    """Return one device per replica: "auto" becomes every usable CUDA device, or the CPU; on Macs and ROCm it stays."""
    if devices != ("auto",):
        return devices
    count = num_cuda_devices()
    if count and torch_build("cuda"):
        return tuple(f"cuda:{i}" for i in range(count))
    return ("auto",) if sys.platform == "darwin" or torch_build("hip") else ("cpu",)


def num_cuda_devices() -> int:
    """Return the number of NVIDIA GPUs that child processes may use, by CUDA's rules for CUDA_VISIBLE_DEVICES.

    The list ends at its first invalid entry, a GPU that is named twice leaves none, and one MIG device is seen at most.
    """
    visible, gpus = os.environ.get("CUDA_VISIBLE_DEVICES"), nvidia_gpus()
    if visible is None or not gpus:
        return len(gpus)
    entries = [entry.strip() for entry in visible.split(",")]
    if entries[0].startswith("MIG-"):
        return 1
    uses_uuids = entries[0].startswith("GPU-")
    found: list[int] = []
    for entry in entries:
        index = _find_uuid(entry, gpus) if uses_uuids else _leading_number(entry)
        if index is None or index >= len(gpus):
            break
        found.append(index)
    return len(found) if len(found) == len(set(found)) else 0


def _find_uuid(start: str, gpus: Sequence[Gpu]) -> int | None:
    """Return the position of the only GPU whose UUID begins like this, or None."""
    found = [i for i, gpu in enumerate(gpus) if start.startswith("GPU-") and gpu.uuid.startswith(start)]
    return found[0] if len(found) == 1 else None


def _leading_number(text: str) -> int | None:
    """Return the number that a text begins with, as C's strtoul reads it, or None."""
    digits = re.match(r"\+?(\d{1,9})(?!\d)", text, re.ASCII)
    return int(digits[1]) if digits else None


def torch_build(platform: str) -> str | None:
    """Return the version of "cuda" or "hip" for which torch was built, from its version file, or None."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    found = re.search(rf"^{platform}\b[^=]*=\s*['\"]([\w.-]+)['\"]", text, re.MULTILINE)
    return found.group(1) if found else None


def cuda_missing() -> bool:
    """Return True if there is an NVIDIA GPU but torch was built without CUDA, as it is for Windows on PyPI."""
    return bool(nvidia_gpus()) and torch_build("cuda") is None


def check_quantization(quantization: str, dtype: str, devices: tuple[str, ...]) -> None:
    """Raise ModelError for a quantization that cannot work on these devices, as `expand_devices` returns them."""
    if quantization == "none":
        return
    auto = () if sys.platform == "darwin" else ("auto",)
    not_cuda = next((device for device in devices if not device.startswith(("cuda", *auto))), None)
    if not_cuda and cuda_missing():
        raise ModelError(f"quantization {quantization}: {CUDA_MISSING}")
    if not_cuda:
        problem = f"quantization {quantization} needs an NVIDIA GPU and cannot run on {not_cuda}"
        raise ModelError(f"{problem}; set quantization to none, or choose other devices")
    if dtype == "float32":
        raise ModelError(f"quantization {quantization} computes in 16 bits; set dtype to auto, bfloat16 or float16")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(f"quantization {quantization} needs the bitsandbytes package: pip install bitsandbytes")
