"""Model presets: where a model comes from, what it needs, and the sampling its makers recommend."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from captioner.errors import FolderError, ModelError
from captioner.system.paths import plain_path
from captioner.system.roots import EVERYWHERE, Roots
from captioner.values import QUANTIZED_BYTES, Quantization

CLIPS_IN_FLIGHT = 8
TOKENS_PER_CLIP = 1700  # 32 frames of 16:9 at 336 px (1,105 tokens with the prompt) and room for 512 new ones
WORKING_GB = 1.5  # activations, logits and the CUDA context

Thinking = Literal["", "never", "optional", "always"]  # "": unknown

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Preset:
    """A model with its defaults. GB are 10^9 bytes. temperature 0 is greedy; top_k 0 and top_p 1 mean no limit."""

    key: str
    title: str
    source: str  # Hub id "owner/name" or the path of a local folder
    vram_gb: float | None = None  # in bfloat16, see estimate_vram_gb; None when unknown
    # 10^9 weights in linear modules of the text layers, which quantization shrinks. None: unknown; 0: hardly any.
    linear_b: float | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    max_frame_size: int = 0  # pixels that frame_size is capped to; 0 = no cap
    notes: str = ""
    weights_gb: float | None = None  # in bfloat16
    model_type: str = ""  # of config.json
    license: str = ""
    context: int = 0  # tokens; 0: unknown
    thinking: Thinking = ""


def estimate_vram_gb(weights_gb: float, cache_kib_per_token: float, state_mib_per_clip: float = 0.0) -> float:
    """Estimate the GB (10^9 bytes) for weights, the memory of 8 clips of 1,700 tokens, and 1.5 GB to work in.

    A clip has keys and values, and in models with linear attention states, of which the engine keeps two copies.
    """
    cache_gb = CLIPS_IN_FLIGHT * TOKENS_PER_CLIP * cache_kib_per_token * 1024 / 1e9
    states_gb = CLIPS_IN_FLIGHT * 2 * state_mib_per_clip * 2**20 / 1e9
    return round(weights_gb + cache_gb + states_gb + WORKING_GB, 1)


def vram_gb(preset: Preset, quantization: Quantization) -> float | None:
    """Return the GB that the model needs when quantized; None if unknown, or if quantization gains nothing.

    A weight shrinks from 2 bytes (bfloat16) to QUANTIZED_BYTES, but not in embeddings, lm_head and vision tower.
    """
    if quantization == "none":
        return preset.vram_gb
    if not preset.vram_gb or not preset.linear_b:
        return None
    return round(preset.vram_gb - preset.linear_b * (2 - QUANTIZED_BYTES[quantization]), 1)


def about_preset(preset: Preset) -> str:
    """Return its license, context and thinking in one line, as far as they are known."""
    words = {"never": "does not think", "optional": "can think", "always": "always thinks"}
    context = f"context of {preset.context:,} tokens" if preset.context else ""
    parts = [f"license {preset.license}" if preset.license else "", context, words.get(preset.thinking, "")]
    return f"({', '.join(filter(None, parts))})" if any(parts) else ""


def check_quantizable(preset: Preset, quantization: Quantization) -> None:
    """Raise ModelError for a model that is known to gain nothing. Unknown models may be tried."""
    if quantization != "none" and preset.linear_b == 0:
        raise ModelError(
            f"{preset.title} cannot be quantized: bitsandbytes does not quantize experts, nearly all of its weights; "
            "set quantization to none, or choose another model"
        )


def _preset(key: str, title: str, source: str, sizes: tuple[float, float, float], notes: str, **more: Any) -> Preset:
    """Return a preset. sizes: GB of weights in bfloat16, KiB of cache for a token, MiB of states for a clip."""
    return Preset(key, title, source, estimate_vram_gb(*sizes), notes=notes, weights_gb=sizes[0], **more)


# The sampling of Qwen's model cards, without their n-gram ban, which also hits trigger words.
_QWEN = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "license": "Apache-2.0", "context": 262_144}
_QWEN3_VL = _QWEN | {"model_type": "qwen3_vl", "thinking": "never"}
_QWEN3_5 = _QWEN | {"model_type": "qwen3_5", "thinking": "optional"}
# That of the checkpoints' generation_config.json.
_GEMMA = {"temperature": 1.0, "top_p": 0.95, "top_k": 64, "license": "Apache-2.0", "thinking": "optional"}
_OMNI = {"license": "Apache-2.0", "thinking": "never"}
_NO_SOUND = "It also hears sound, which this app does not give it: it sees the frames."

# Weights, cache and states are computed from the geometries of the released checkpoints (cli/bench/models.py), those of
# Gemma 4 and of the omni models are the sizes of their files; linear_b: the 8B has 8.77 - 2 * 0.622 - 0.58 = 6.95.
PRESETS: tuple[Preset, ...] = (
    _preset("qwen3-vl-2b", "Qwen3-VL 2B", "Qwen/Qwen3-VL-2B-Instruct", (4.3, 112, 0),
            "The smallest, and the one for a CPU, where it is slow.", linear_b=1.41, **_QWEN3_VL),
    _preset("qwen3-vl-4b", "Qwen3-VL 4B", "Qwen/Qwen3-VL-4B-Instruct", (8.9, 144, 0),
            "Good captions on a 16 GB card.", linear_b=3.63, **_QWEN3_VL),
    _preset("qwen3-vl-8b", "Qwen3-VL 8B", "Qwen/Qwen3-VL-8B-Instruct", (17.5, 144, 0),
            "Proven for captions, on a 24 GB card.", linear_b=6.95, **_QWEN3_VL),
    _preset("qwen3.5-4b", "Qwen3.5 4B", "Qwen/Qwen3.5-4B", (9.1, 32, 49.5),
            "The default on a small GPU. Long clips need little memory.", linear_b=3.57, **_QWEN3_5),
    _preset("qwen3.5-9b", "Qwen3.5 9B", "Qwen/Qwen3.5-9B", (18.8, 32, 49.5),
            "The default on a GPU with 24 GB or more.", linear_b=6.92, **_QWEN3_5),
    _preset("qwen3.8-27b", "Qwen3.8 27B", "Qwen/Qwen3.8-27B", (54.7, 64, 147.75),
            "The best captions of an open dense model, for an 80 GB card.", linear_b=24.35, **_QWEN3_5),
    _preset("qwen3.8-27b-fp8", "Qwen3.8 27B FP8", "Qwen/Qwen3.8-27B-FP8", (30.4, 64, 147.75),
            "The same in half the memory, on GPUs that compute in FP8 with the package kernels; elsewhere it grows to "
            "the size of the 27B.", **_QWEN3_5),
    # In transformers its experts are not linear modules; only the attention is, 1.4 of 35.1 * 10^9.
    _preset("qwen3.6-35b-a3b", "Qwen3.6 35B-A3B", "Qwen/Qwen3.6-35B-A3B", (70.2, 20, 61.875),
            "Mixture of experts: needs the memory of a 35B, nearly as fast as a 3B.", linear_b=0,
            **_QWEN3_5 | {"model_type": "qwen3_5_moe"}),
    _preset("qwen3-vl-8b-abliterated", "Qwen3-VL 8B abliterated",
            "huihui-ai/Huihui-Qwen3-VL-8B-Instruct-abliterated", (17.5, 144, 0),
            "Does not refuse, such as for nudity or violence; otherwise the Qwen3-VL 8B.", linear_b=6.95, **_QWEN3_VL),
    _preset("caprl-4b", "CapRL 4B", "internlm/CapRL-Qwen3VL-4B", (8.9, 144, 0),
            "A Qwen3-VL 4B that was trained for dense captions.", linear_b=3.63, **_QWEN3_VL),
    _preset("marlin-2b", "Marlin 2B", "NemoStation/Marlin-2B", (4.4, 12, 18.84),
            "Scene and timed events of clips up to a minute; gated, so accept its terms on the Hub first.",
            linear_b=1.37, model_type="qwen3_5", license="see its page", context=262_144, thinking="optional"),
    # The cache sizes of these are upper bounds: most of their layers keep only a sliding window.
    _preset("gemma-4-e4b", "Gemma 4 E4B", "google/gemma-4-E4B-it", (16.0, 56, 0),
            "A second opinion, on a 24 GB card.", model_type="gemma4", context=131_072, **_GEMMA),
    _preset("gemma-4-12b", "Gemma 4 12B", "google/gemma-4-12B-it", (24.0, 192, 0),
            "A second opinion, on a 32 GB card.", model_type="gemma4_unified", context=262_144, **_GEMMA),
    _preset("qwen3-omni-30b-a3b", "Qwen3-Omni 30B-A3B", "Qwen/Qwen3-Omni-30B-A3B-Instruct", (63.0, 96, 0),
            _NO_SOUND, linear_b=0, model_type="qwen3_omni_moe", context=65_536, **_OMNI),
    _preset("avocado-7b", "AVoCaDO 7B", "AVoCaDO-Captioner/AVoCaDO", (17.9, 56, 0),
            f"A Qwen2.5-Omni that was trained for captions. {_NO_SOUND}", linear_b=6.53, model_type="qwen2_5_omni",
            context=32_768, **_OMNI),
    Preset(
        key="demo",
        title="Demo (toy world)",
        source=str(Path(__file__).parents[1] / "demo" / "model"),
        vram_gb=0.1,
        max_frame_size=128,
        notes="Comes with the app and needs neither a download nor a GPU. It knows only a toy world of moving colored "
        "shapes and calls everything a shape: use it to try the app, not to caption real footage.",
        weights_gb=0.01,
        model_type="qwen3_vl",
        license="MIT",
        context=32_768,
        thinking="never",
    ),
)  # fmt: skip
# Models that others have taken the place of: not in the menu, but found by key and by Hub id as before.
SUPERSEDED: tuple[Preset, ...] = (
    _preset("qwen3-vl-32b", "Qwen3-VL 32B", "Qwen/Qwen3-VL-32B-Instruct", (66.7, 256, 0),
            "Qwen3.8 27B has taken its place.", linear_b=31.2, **_QWEN3_VL),
    # In transformers its experts are not linear modules; only the attention is, 0.9 of 31.1 * 10^9.
    _preset("qwen3-vl-30b-a3b", "Qwen3-VL 30B-A3B", "Qwen/Qwen3-VL-30B-A3B-Instruct", (62.1, 96, 0),
            "Qwen3.6 35B-A3B has taken its place.", linear_b=0, **_QWEN3_VL | {"model_type": "qwen3_vl_moe"}),
    _preset("qwen2.5-vl-7b", "Qwen2.5-VL 7B", "Qwen/Qwen2.5-VL-7B-Instruct", (16.6, 56, 0),
            "Qwen3-VL 8B has taken its place.", linear_b=6.53, repetition_penalty=1.05, model_type="qwen2_5_vl",
            license="Apache-2.0", context=128_000, thinking="never"),
    _preset("smolvlm2", "SmolVLM2 2.2B", "HuggingFaceTB/SmolVLM2-2.2B-Instruct", (4.5, 192, 0),
            "Small and fast; short, plain captions.", model_type="smolvlm", license="Apache-2.0", context=8_192,
            thinking="never"),
)  # fmt: skip


def find_preset(name: str, roots: Roots = EVERYWHERE) -> Preset:
    """Return the preset with this key or source, or a generic one for a local model folder or Hub id "owner/name".

    A generic preset decodes greedily, which every model supports. roots: where model folders may be; nothing outside is
    accessed. Raises ModelError for any other name, and FolderError for a path outside the roots.
    """
    wanted = name.strip()
    for preset in (*PRESETS, *SUPERSEDED):
        if wanted.lower() in (preset.key, preset.source.lower()):
            return preset
    folder = Path(plain_path(wanted))  # any text: neither this nor the checks below raise an error
    if wanted and _is_allowed(wanted, roots):
        if os.path.isfile(folder / "config.json"):  # noqa: PTH113
            title, source = folder.resolve().name, str(folder.absolute())
            return Preset(key=wanted, title=title, source=source, notes="A local folder.")
        if os.path.isdir(folder):  # noqa: PTH112
            raise ModelError(f"{folder} is not a model folder: it has no config.json")
    if _HUB_ID.fullmatch(wanted):
        return Preset(key=wanted, title=wanted.split("/")[1], source=wanted, notes="From the Hugging Face Hub.")
    keys = ", ".join(preset.key for preset in PRESETS)
    advice = f"give one of {keys}, a Hub id such as owner/name, or a model folder"
    raise ModelError(f"unknown model {name[:200]!r}: {advice}")


def _is_allowed(name: str, roots: Roots) -> bool:
    """Return True if the name is a path inside the roots. Raises FolderError if it is a path, but not inside."""
    try:
        return not roots.confined or bool(roots.resolve(name))
    except FolderError:
        is_path = os.path.isdir(name) if _HUB_ID.fullmatch(name) else "/" in name or "\\" in name  # noqa: PTH112
        if is_path:
            raise
        return False


def default_preset(vram_gb: float | None) -> Preset:
    """Return the largest Qwen3.5 up to 9B that fits into this much GPU memory (10^9 bytes), else the Qwen3-VL 2B."""
    smallest, *larger = (find_preset(key) for key in ("qwen3-vl-2b", "qwen3.5-4b", "qwen3.5-9b"))
    fitting = [preset for preset in larger if vram_gb is not None and (preset.vram_gb or 0.0) <= vram_gb]
    return fitting[-1] if fitting else smallest


def choose_preset(name: str, vram_gb: float | None, roots: Roots = EVERYWHERE) -> Preset:
    """Return `default_preset(vram_gb)` for "auto", else `find_preset(name, roots)`."""
    return default_preset(vram_gb) if name.strip().lower() == "auto" else find_preset(name, roots)
