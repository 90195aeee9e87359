"""The roofline: a lower bound of the time for a caption, from the device's measured bandwidth and matrix rate.

    caption_s = prefill_flops / flops_per_s + new_tokens x step_s / rows
    step_s    = max(step_bytes / bytes_per_s, rows x token_flops / flops_per_s)

The roofline model is by Williams, Waterman and Patterson (2009), https://doi.org/10.1145/1498765.1498785. A
multiply-add counts as 2 FLOP.

Text tower: linear layers, causal attention with 2 T^2 x H x D for each layer (half of 4), and the last layer for one
token. Vision tower: linear layers, attention within each frame group, patch embedding and mergers (one, and one for
each DeepStack layer), which take 4 patches each. Decode step: it reads all text weights, the last layer, and keys and
values of all rows; in a mixture of experts, those that its rows are expected to choose, k of E for each row:
E x (1 - (1 - k/E)^rows). A layer of linear attention has no keys and values; each token updates its state of H x K x V
numbers with about 6 FLOP a number, and a decode step reads and writes the states of all rows. Norms, rotary embeddings,
convolutions and sampling count nothing, so a share of 1.0 is impossible.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig

_KINDS = ("key", "value")


@dataclass(frozen=True)
class Device:
    """The measured speed of a device."""

    bytes_per_s: float  # read and written
    flops_per_s: float  # in the model's dtype


@dataclass(frozen=True)
class Clip:
    """The size of one clip as input, and the length of its caption."""

    patches: int
    patches_per_group: int  # patches that attend to each other: one image, or one pair of frames of a clip
    prompt_tokens: int
    new_tokens: int


def text_weights(config: PretrainedConfig, rows: float) -> float:
    """Return the weights that a step over `rows` tokens reads in the text layers, last layer excluded."""
    text, (num_full, num_linear) = config.text_config, _num_layers(config)
    gates = text.num_attention_heads if num_linear else 0  # Qwen3.5's attention has an output gate
    heads = 2 * text.num_attention_heads + 2 * text.num_key_value_heads + gates
    attention = num_full * text.hidden_size * heads * text.head_dim
    if num_linear:
        keys, values = (getattr(text, f"linear_num_{x}_heads") * getattr(text, f"linear_{x}_head_dim") for x in _KINDS)
        attention += num_linear * text.hidden_size * (2 * keys + 3 * values + 2 * text.linear_num_value_heads)
    mlp = 3.0 * text.hidden_size * text.intermediate_size
    if count := getattr(text, "num_experts", 0):
        touched = count * (1 - (1 - text.num_experts_per_tok / count) ** rows)
        shared = getattr(text, "shared_expert_intermediate_size", 0) if num_linear else 0
        mlp = 3.0 * text.hidden_size * (text.moe_intermediate_size * touched + shared) + text.hidden_size * count
    return attention + text.num_hidden_layers * mlp


def state_numbers(config: PretrainedConfig) -> int:
    """Return the numbers in the recurrent states of one row; 0 without linear attention."""
    text, (_, num_linear) = config.text_config, _num_layers(config)
    if not num_linear:
        return 0
    return num_linear * text.linear_num_value_heads * text.linear_key_head_dim * text.linear_value_head_dim


def _num_layers(config: PretrainedConfig) -> tuple[int, int]:
    """Return how many text layers have full attention, and how many linear attention."""
    kinds = getattr(config.text_config, "layer_types", None) or ()
    num_linear = sum(kind == "linear_attention" for kind in kinds)
    return config.text_config.num_hidden_layers - num_linear, num_linear


def head_weights(config: PretrainedConfig) -> int:
    """Return the weights of the last layer."""
    return config.text_config.vocab_size * config.text_config.hidden_size


def prefill_flops(config: PretrainedConfig, clip: Clip) -> tuple[float, float]:
    """Return the FLOP of the vision tower and of the text tower for one clip."""
    text, vision = config.text_config, config.vision_config
    attention = 4 * clip.patches_per_group * vision.hidden_size * vision.depth * clip.patches
    layers = vision.depth * (4 * vision.hidden_size**2 + 2 * vision.hidden_size * vision.intermediate_size)
    embedding = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2 * vision.hidden_size
    wide = vision.hidden_size * vision.spatial_merge_size**2
    mergers = (1 + len(getattr(vision, "deepstack_visual_indexes", ()))) * (wide**2 + wide * vision.out_hidden_size)
    linear = (layers + embedding) * clip.patches + mergers * (clip.patches // vision.spatial_merge_size**2)
    tokens = clip.prompt_tokens
    text_attention = 2 * tokens**2 * text.num_attention_heads * text.head_dim * _num_layers(config)[0]
    text_attention += 6 * tokens * state_numbers(config)
    text_flops = 2 * text_weights(config, rows=1) * tokens + text_attention + 2 * head_weights(config)
    return float(2 * linear + attention), text_flops


def token_bytes(config: PretrainedConfig, itemsize: int) -> int:
    """Return the bytes of one token's keys and values in all layers."""
    text = config.text_config
    return 2 * text.num_key_value_heads * text.head_dim * _num_layers(config)[0] * itemsize


def step_bytes(config: PretrainedConfig, rows: float, context_tokens: float, itemsize: int) -> float:
    """Return the bytes that one decode step of `rows` rows with `context_tokens` tokens each reads."""
    weights = text_weights(config, rows) + head_weights(config)
    states = 2 * torch.float32.itemsize * state_numbers(config)  # read and written
    return weights * itemsize + rows * (context_tokens * token_bytes(config, itemsize) + states)


def caption_s(config: PretrainedConfig, clip: Clip, rows: int, device: Device, itemsize: int) -> float:
    """Return the lower bound of the time for one caption when `rows` captions always run at once."""
    prefill_s = sum(prefill_flops(config, clip)) / device.flops_per_s
    read = step_bytes(config, rows, clip.prompt_tokens + clip.new_tokens / 2, itemsize)
    token_flops = 2 * (text_weights(config, rows=1) + head_weights(config)) + 6 * state_numbers(config)
    step_s = max(read / device.bytes_per_s, rows * token_flops / device.flops_per_s)
    return prefill_s + clip.new_tokens * step_s / rows


def measure_device(device: torch.device, dtype: torch.dtype) -> Device:
    """Measure bandwidth and matrix rate as the best of a few large runs, with torch's current number of threads."""
    measured = Device(_bytes_per_s(device), _flops_per_s(device, dtype))
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return measured


def _bytes_per_s(device: torch.device) -> float:
    """Measure a copy, and on a CPU also a matrix-vector product, which reads like decoding; the faster one counts."""
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
    """Measure a large matrix product."""
    side = 1536 if device.type == "cpu" else 8192
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / _best_s(lambda: a @ b, device)


def _best_s(work: Callable[[], object], device: torch.device, repeats: int = 5, warm_ups: int = 2) -> float:
    """Return the shortest time of one run; on a GPU, ten runs are timed together so that launches count little."""
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
