"""The presets that suit a machine, and why, in a few words."""

import sys
from dataclasses import dataclass

from captioner.config.presets import PRESETS, Preset, default_preset, vram_gb
from captioner.system.devices import cuda_missing
from captioner.system.resources import nvidia_gpus, total_bytes

# For clips and images of every kind, each better than the one before. The others have a purpose of their own.
GENERAL = ("qwen3-vl-2b", "qwen3-vl-4b", "qwen3.5-4b", "qwen3-vl-8b", "qwen3.5-9b", "qwen3.6-35b-a3b", "qwen3.8-27b")
NUM_GENERAL = 2  # of those that fit, the best
ON_CPU = ("qwen3-vl-2b", "marlin-2b")  # larger ones take minutes for a clip there
SPECIAL = ("qwen3-vl-8b-abliterated", "caprl-4b", "marlin-2b", "demo")
CPU_BYTES, RESERVE = 4, 1.15  # of a weight in float32; as in engine/loading


@dataclass(frozen=True)
class Machine:
    """The memory that models can use, in GB (10^9 bytes)."""

    gpus_gb: tuple[float, ...] = ()  # of each usable NVIDIA GPU
    memory_gb: float = 0.0  # main memory
    is_mac: bool = False  # its GPU uses the main memory

    @property
    def largest_gb(self) -> float:
        return max(self.gpus_gb, default=0.0)


@dataclass(frozen=True)
class Suited:
    """A preset, whether it is recommended for the machine, and why, or why not."""

    preset: Preset
    is_recommended: bool
    why: str


def read_machine() -> Machine:
    """Return what this machine has. GPUs that the installed torch cannot use do not count."""
    gpus = () if cuda_missing() else tuple(gpu.vram_total_bytes / 1e9 for gpu in nvidia_gpus() if gpu.vram_total_bytes)
    return Machine(gpus, total_bytes() / 1e9, sys.platform == "darwin")


def suited(machine: Machine) -> list[Suited]:
    """Return all presets: the default one, other recommended ones from the best on, then the rest."""
    whys = {preset.key: _why(preset, machine) for preset in PRESETS}
    fitting = [key for key in whys if whys[key] and (machine.gpus_gb or key in (*ON_CPU, "demo"))]
    best = [key for key in reversed(GENERAL) if key in fitting]
    best.sort(key=lambda key: "quantization" in whys[key])  # smaller weights cost quality
    default = default_preset(machine.largest_gb or None).key
    chosen = [key for key in dict.fromkeys((default, *best[:NUM_GENERAL], *SPECIAL)) if key in (default, *fitting)]
    by_key = {preset.key: preset for preset in PRESETS}
    found = []
    for key in (*chosen, *(key for key in whys if key not in chosen)):
        why = whys[key] or _why_not(by_key[key], machine)
        found.append(Suited(by_key[key], key in chosen, f"the default here; {why}" if key == default else why))
    return found


def _why(preset: Preset, machine: Machine) -> str:
    """Return how the preset fits, or "" if it does not."""
    if preset.key == "demo":
        return "runs everywhere, to try the app"
    needed = preset.vram_gb or 0.0
    num_fitting = sum(needed <= gpu_gb for gpu_gb in machine.gpus_gb)
    if num_fitting:
        text = f"fits in {_shown(machine)}"
        if len(machine.gpus_gb) > 1:
            which = "each of" if num_fitting == len(machine.gpus_gb) else f"{num_fitting} of"
            text += f", a copy on {which} {len(machine.gpus_gb)} GPUs"
        return text
    for quantization in ("8bit", "4bit") if machine.gpus_gb else ():
        smaller = vram_gb(preset, quantization)
        if smaller and smaller <= machine.largest_gb:
            return f"fits in {_shown(machine)} with quantization {quantization}"
    if not machine.gpus_gb and _cpu_gb(preset) <= machine.memory_gb:
        where = "on the GPU of this Mac" if machine.is_mac else "on the CPU, slowly"
        return f"runs {where}, in {_cpu_gb(preset):.0f} of {machine.memory_gb:.0f} GB of memory"
    return ""


def _why_not(preset: Preset, machine: Machine) -> str:
    if machine.gpus_gb:
        return f"needs more than the {_shown(machine)} here"
    return f"needs {_cpu_gb(preset):.0f} GB of memory, more than the {machine.memory_gb:.0f} GB here"


def _shown(machine: Machine) -> str:
    """Return the memory of the largest GPU as its maker counts it, in units of 2^30 bytes."""
    return f"{machine.largest_gb * 1e9 / 2**30:.0f} GB of GPU memory"


def _cpu_gb(preset: Preset) -> float:
    """Return the GB of main memory that the weights need."""
    return (preset.weights_gb or 0.0) / 2 * CPU_BYTES * RESERVE
