"""The least time that a device can need for a caption, from its measured bandwidth and matrix rate.

    caption_s = prefill_flops / flops_per_s + new_tokens x step_s / rows
    step_s    = max(step_bytes / bytes_per_s, rows x token_flops / flops_per_s)

The roofline model: Williams, Waterman and Patterson (2009), https://doi.org/10.1145/1498765.1498785. A multiply and add
are 2 FLOP. The text tower counts its linear layers, 2 FLOP a weight and token, causal attention 2 T^2 x H x D a layer
(half of 4), and the last layer for one token. The vision tower counts its linear layers, attention of each frame group
to itself, 4 P x P_group x hidden a layer, patch embedding and mergers (one, and one for each DeepStack layer), each of
which takes 4 patches. A decode step reads all text weights once (of a mixture those experts that its rows are expected
to choose, each row k of E: E x (1 - (1 - k/E)^rows)), the last layer, and keys and values of all its rows. Attention
in decode counts as bytes alone. Norms, rotary embeddings and sampling count nothing, so 1.0 is out of reach.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig


@dataclass(frozen=True)
class Device:
    """What a device was measured to do."""

    bytes_per_s: float  # read and written
    flops_per_s: float  # in the model's dtype


@dataclass(frozen=True)
class Clip:
    """What a model gets of one clip, and how much it writes."""

    patches: int
    patches_per_group: int  # that attend to each other: one frame, or one pair of a video
    prompt_tokens: int
    new_tokens: int


@dataclass(frozen=True)
class Weights:
    """Numbers of weights, counted from a Qwen3-VL config. `experts` are those of one layer, 0 in a dense model."""

    config: PretrainedConfig

    @property
    def attention(self) -> int:
        """Of one text layer: query, key, value, output."""
        text = self.config.text_config
        heads = 2 * text.num_attention_heads + 2 * text.num_key_value_heads
        return text.hidden_size * heads * text.head_dim

    @property
    def experts(self) -> tuple[int, int]:
        """(in a layer, that one token uses)."""
        text = self.config.text_config
        count = getattr(text, "num_experts", 0) or 0
        return (count, text.num_experts_per_tok) if count else (0, 0)

    def text(self, rows: float) -> float:
        """Of all text layers, without embedding and last layer, that a step over `rows` tokens reads."""
        text, (count, used) = self.config.text_config, self.experts
        if not count:
            mlp = 3.0 * text.hidden_size * text.intermediate_size
        else:
            touched = count * (1 - (1 - used / count) ** rows)
            mlp = 3.0 * text.hidden_size * text.moe_intermediate_size * touched + text.hidden_size * count
        return text.num_hidden_layers * (self.attention + mlp)

    @property
    def head(self) -> int:
        text = self.config.text_config
        return text.vocab_size * text.hidden_size

    @property
    def vision_layers(self) -> int:
        vision = self.config.vision_config
        return vision.depth * (4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size)

    @property
    def mergers(self) -> int:
        vision = self.config.vision_config
        wide = vision.hidden_size * vision.spatial_merge_size**2
        return (1 + len(vision.deepstack_visual_indexes)) * (wide**2 + wide * vision.out_hidden_size)

    @property
    def patch_embedding(self) -> int:
        vision = self.config.vision_config
        return vision.in_channels * vision.temporal_patch_size * vision.patch_size**2 * vision.hidden_size


def prefill_flops(config: PretrainedConfig, clip: Clip) -> tuple[float, float]:
    """(vision tower, text tower) for one clip."""
    weights, text, vision = Weights(config), config.text_config, config.vision_config
    attention = 4 * clip.patches_per_group * vision.hidden_size * vision.depth * clip.patches
    merged = clip.patches // vision.spatial_merge_size**2
    seen = (
        2 * (weights.vision_layers + weights.patch_embedding) * clip.patches + attention + 2 * weights.mergers * merged
    )
    tokens = clip.prompt_tokens
    attention = 2 * tokens**2 * text.num_attention_heads * text.head_dim * text.num_hidden_layers
    return float(seen), 2 * weights.text(rows=1) * tokens + attention + 2 * weights.head


def token_bytes(config: PretrainedConfig, itemsize: int) -> int:
    """Keys and values of one token in all layers."""
    text = config.text_config
    return 2 * text.num_key_value_heads * text.head_dim * text.num_hidden_layers * itemsize


def step_bytes(config: PretrainedConfig, rows: float, context_tokens: float, itemsize: int) -> float:
    """Read by one decode step of `rows` rows that have `context_tokens` tokens each."""
    weights = Weights(config)
    return (weights.text(rows) + weights.head) * itemsize + rows * context_tokens * token_bytes(config, itemsize)


def token_flops(config: PretrainedConfig) -> float:
    """Of the matrix products behind one new token."""
    weights = Weights(config)
    return 2 * (weights.text(rows=1) + weights.head)


def caption_s(config: PretrainedConfig, clip: Clip, rows: int, device: Device, itemsize: int) -> float:
    """The least time for one caption when `rows` of them run at once all the time."""
    prefill_s = sum(prefill_flops(config, clip)) / device.flops_per_s
    read = step_bytes(config, rows, clip.prompt_tokens + clip.new_tokens / 2, itemsize)
    step_s = max(read / device.bytes_per_s, rows * token_flops(config) / device.flops_per_s)
    return prefill_s + clip.new_tokens * step_s / rows


def measure_device(device: torch.device, dtype: torch.dtype) -> Device:
    """Bandwidth and matrix rate as the best of a few large runs, with as many threads as torch has now."""
    measured = Device(_bytes_per_s(device), _flops_per_s(device, dtype))
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return measured


def _bytes_per_s(device: torch.device) -> float:
    """Of a copy; on a CPU also of a matrix times a vector, which reads as decoding does, if that is faster."""
    num_bytes = 256 << 20
    if device.type == "cuda":
        num_bytes = min(4 << 30, torch.cuda.mem_get_info(device)[0] // 4)
    source = torch.ones(num_bytes // 16384, 4096, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    rate = 2 * source.nbytes / _best_s(lambda: target.copy_(source), device)
    if device.type == "cpu":
        vector = source[0].clone()
        rate = max(rate, source.nbytes / _best_s(lambda: torch.mv(source, vector), device))
    return rate


def _flops_per_s(device: torch.device, dtype: torch.dtype) -> float:
    side = 1536 if device.type == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / _best_s(lambda: a @ b, device)


def _best_s(work: Callable[[], object], device: torch.device, repeats: int = 5, warm_ups: int = 2) -> float:
    """Of one run; on a GPU ten in a row are timed, so that starting them counts little."""
    inner = 10 if device.type == "cuda" else 1
    best = float("inf")
    for number in range(warm_ups + repeats):
        _wait(device)
        start = time.perf_counter()
        for _ in range(inner):
            work()
        _wait(device)
        if number >= warm_ups:
            best = min(best, (time.perf_counter() - start) / inner)
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
