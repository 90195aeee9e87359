"""Model presets: where a model comes from, what it needs, and the sampling its makers recommend."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from captioner.errors import FolderError, ModelError
from captioner.system.paths import plain_path
from captioner.system.roots import EVERYWHERE, Roots
from captioner.values import QUANTIZED_BYTES, Quantization

CLIPS_IN_FLIGHT = 8
TOKENS_PER_CLIP = 1700  # 32 frames of 16:9 at 336 px (1,105 tokens with the prompt) and room for 512 new ones
WORKING_GB = 1.5  # activations, logits and the CUDA context

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


def estimate_vram_gb(weights_gb: float, cache_kib_per_token: float) -> float:
    """Estimate the GB (10^9 bytes) for weights, the K/V cache of 8 clips of 1,700 tokens, and 1.5 GB to work in."""
    cache_gb = CLIPS_IN_FLIGHT * TOKENS_PER_CLIP * cache_kib_per_token * 1024 / 1e9
    return round(weights_gb + cache_gb + WORKING_GB, 1)


def vram_gb(preset: Preset, quantization: Quantization) -> float | None:
    """Return the GB that the model needs when quantized; None if unknown, or if quantization gains nothing.

    A weight shrinks from 2 bytes (bfloat16) to QUANTIZED_BYTES, but not in embeddings, lm_head and vision tower.
    """
    if quantization == "none":
        return preset.vram_gb
    if not preset.vram_gb or not preset.linear_b:
        return None
    return round(preset.vram_gb - preset.linear_b * (2 - QUANTIZED_BYTES[quantization]), 1)


def check_quantizable(preset: Preset, quantization: Quantization) -> None:
    """Raise ModelError for a model that is known to gain nothing. Unknown models may be tried."""
    if quantization != "none" and preset.linear_b == 0:
        raise ModelError(
            f"{preset.title} cannot be quantized: bitsandbytes does not quantize experts, nearly all of its weights; "
            "set quantization to none, or choose another model"
        )


def _qwen3_vl(size: str, weights_gb: float, cache_kib_per_token: float, linear_b: float, notes: str) -> Preset:
    """Return a preset with the sampling of Qwen's model cards, without their n-gram ban, which also hits trigger words.

    linear_b: the weights without embedding, lm_head and vision tower. The 8B: 8.77 - 2 * 0.622 - 0.58 = 6.95.
    """
    key, title, source = f"qwen3-vl-{size.lower()}", f"Qwen3-VL {size}", f"Qwen/Qwen3-VL-{size}-Instruct"
    vram_gb = estimate_vram_gb(weights_gb, cache_kib_per_token)
    return Preset(key, title, source, vram_gb, linear_b, temperature=0.7, top_p=0.8, top_k=20, notes=notes)


def _gemma_4(size: str, weights_gb: float, cache_kib_per_token: float, notes: str) -> Preset:
    """Return a preset with the sampling of the checkpoint's generation_config.json."""
    key, title, source = f"gemma-4-{size.lower()}", f"Gemma 4 {size}", f"google/gemma-4-{size}-it"
    vram_gb = estimate_vram_gb(weights_gb, cache_kib_per_token)
    return Preset(key, title, source, vram_gb, temperature=1.0, top_p=0.95, top_k=64, notes=notes)


PRESETS: tuple[Preset, ...] = (
    _qwen3_vl("2B", 4.3, 112, 1.41, "The smallest Qwen3-VL, and the one for a CPU, where it is slow."),
    _qwen3_vl("4B", 8.9, 144, 3.63, "Good captions on a 16 GB card."),
    _qwen3_vl("8B", 17.5, 144, 6.95, "The default on a GPU with 24 GB or more."),
    _qwen3_vl("32B", 66.7, 256, 31.2, "The best captions of the family, for an 80 GB card."),
    # In transformers its experts are not linear modules; only the attention is, 0.9 of 31.1 * 10^9.
    _qwen3_vl("30B-A3B", 62.1, 96, 0, "Mixture of experts: needs the memory of a 30B, nearly as fast as a 3B."),
    Preset(
        "qwen2.5-vl-7b",
        "Qwen2.5-VL 7B",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        vram_gb=estimate_vram_gb(16.6, 56),
        linear_b=6.53,  # 28 layers of 233 M
        repetition_penalty=1.05,
        notes="The generation before Qwen3-VL. Greedy with a slight penalty, as released.",
    ),
    # The cache sizes of these are upper bounds: most of their layers keep only a sliding window.
    _gemma_4("E4B", 16.0, 56, "The smaller Gemma 4, for a 24 GB card."),
    _gemma_4("12B", 24.0, 192, "The larger Gemma 4, for a 32 GB card."),
    Preset(
        key="smolvlm2",
        title="SmolVLM2 2.2B",
        source="HuggingFaceTB/SmolVLM2-2.2B-Instruct",
        vram_gb=estimate_vram_gb(4.5, 192),
        notes="Small and fast; short, plain captions.",
    ),
    Preset(
        key="demo",
        title="Demo (toy world)",
        source=str(Path(__file__).parents[1] / "demo" / "model"),
        vram_gb=0.1,
        max_frame_size=128,
        notes="Comes with the app and needs neither a download nor a GPU. It knows only a toy world of moving colored "
        "shapes and calls everything a shape: use it to try the app, not to caption real footage.",
    ),
)


def find_preset(name: str, roots: Roots = EVERYWHERE) -> Preset:
    """Return the preset with this key or source, or a generic one for a local model folder or Hub id "owner/name".

    A generic preset decodes greedily, which every model supports. roots: where model folders may be; nothing outside is
    accessed. Raises ModelError for any other name, and FolderError for a path outside the roots.
    """
    wanted = name.strip()
    for preset in PRESETS:
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
    """Return the largest Qwen3-VL up to 8B that fits into this much GPU memory (10^9 bytes), else the 2B."""
    small, *larger = (find_preset(f"qwen3-vl-{size}") for size in ("2b", "4b", "8b"))
    fitting = [preset for preset in larger if vram_gb is not None and (preset.vram_gb or 0.0) <= vram_gb]
    return fitting[-1] if fitting else small


def choose_preset(name: str, vram_gb: float | None, roots: Roots = EVERYWHERE) -> Preset:
    """Return `default_preset(vram_gb)` for "auto", else `find_preset(name, roots)`."""
    return default_preset(vram_gb) if name.strip().lower() == "auto" else find_preset(name, roots)
