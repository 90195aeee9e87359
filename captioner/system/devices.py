"""Which devices there are, without importing torch: the app's own process never needs it."""

import importlib.util
import os
import re
import sys
from pathlib import Path

from captioner.errors import ModelError
from captioner.system.resources import nvidia_gpus

CUDA_MISSING = (
    "an NVIDIA GPU is present, but the installed torch was built without CUDA and cannot use it; "
    "see 'Use the GPU' in the README for the one command that installs the right one"
)


def expand_devices(devices: tuple[str, ...]) -> tuple[str, ...]:
    """One entry a replica: "auto" becomes every usable CUDA device, or the CPU.

    It stays "auto", for the replica to find out, where a GPU of another maker may be: on a Mac or with ROCm.
    """
    if devices != ("auto",):
        return devices
    count = num_cuda_devices()
    if count and torch_build("cuda"):
        return tuple(f"cuda:{i}" for i in range(count))
    return ("auto",) if sys.platform == "darwin" or torch_build("hip") else ("cpu",)


def num_cuda_devices() -> int:
    """NVIDIA GPUs that programs started from here may use."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([part for part in visible.split(",") if part.strip() and part.strip() != "-1"])
    return len(nvidia_gpus())


def torch_build(platform: str) -> str | None:
    """The version of "cuda" or "hip" that the installed torch was built for, from its version file; None for none."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    text = (Path(spec.origin).parent / "version.py").read_text(encoding="utf-8")
    found = re.search(rf"^{platform}\b[^=]*=\s*['\"]([\w.-]+)['\"]", text, re.MULTILINE)
    return found.group(1) if found else None


def cuda_missing() -> bool:
    """An NVIDIA GPU is there, but torch was built without CUDA: what Windows gets from the registry."""
    return bool(nvidia_gpus()) and torch_build("cuda") is None


def check_quantization(quantization: str, dtype: str, devices: tuple[str, ...]) -> None:
    """Refuse what can be known not to work without torch or the model: before a download, and again at load.

    devices: as `expand_devices` gives them. Raises ModelError.
    """
    if quantization == "none":
        return
    without = next((device for device in devices if not _may_be_cuda(device)), None)
    if without and cuda_missing():
        raise ModelError(f"quantization {quantization}: {CUDA_MISSING}")
    if without:
        raise ModelError(
            f"quantization {quantization} needs an NVIDIA GPU and cannot run on {without}; "
            "set quantization to none, or choose other devices"
        )
    if dtype == "float32":
        raise ModelError(f"quantization {quantization} computes in 16 bits; set dtype to auto, bfloat16 or float16")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(f"quantization {quantization} needs the bitsandbytes package: pip install bitsandbytes")


def _may_be_cuda(device: str) -> bool:
    return device.startswith("cuda") or (device == "auto" and sys.platform != "darwin")
