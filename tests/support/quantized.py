"""Checkpoints of a tiny model in quantized formats, written without the packages that make them."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

GROUP = 32
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
TEXT = r"language_model"


def copy_model(folder: Path, target: Path, change, **config) -> dict[str, torch.Tensor]:
    """Copy a model with other weights, and fields in its config; return the weights that it stands for.

    change: name and weight -> (stored tensors, the weight they stand for), for each weight.
    """
    shutil.copytree(folder, target)
    stored, dense = {}, {}
    for name, weight in load_file(folder / "model.safetensors").items():
        new, dense[name] = change(name, weight)
        stored |= new
    save_file({name: weight.contiguous() for name, weight in stored.items()}, target / "model.safetensors")
    found = json.loads((folder / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(found | config))
    return dense


def fp8(block: int):
    """Return the change to blocks of FP8 with a scale each."""

    def change(weight):
        rows, columns = weight.shape
        blocks = weight.reshape(rows // block, block, columns // block, block)
        scales = blocks.abs().amax((1, 3)) / 448
        shown = (blocks / scales[:, None, :, None]).to(torch.float8_e4m3fn)
        dense = shown.float() * scales[:, None, :, None]
        return {"": shown.reshape(rows, columns), "_scale_inv": scales}, dense.reshape(rows, columns)

    return change


def _four_bits(weight):
    """Return numbers of 0 to 15, int32 (in, out), their scales (groups, out), and the weight they stand for."""
    rows, columns = weight.shape
    groups = weight.reshape(rows, columns // GROUP, GROUP)
    scales = (groups.abs().amax(-1) / 7).half().float()
    numbers = (groups / scales[..., None]).round().clamp(-8, 7)
    dense = (numbers * scales[..., None]).reshape(rows, columns)
    return (numbers + 8).reshape(rows, columns).t().to(torch.int32), scales.t().half(), dense


def _pack(numbers: torch.Tensor, dim: int, order=range(8)) -> torch.Tensor:
    parts = numbers.unflatten(dim, (-1, 8)).unbind(dim + 1)
    packed = torch.zeros_like(parts[0])
    for bit, part in enumerate(order):
        packed |= parts[part] << (4 * bit)
    return packed


def gptq(weight):
    numbers, scales, dense = _four_bits(weight)
    zeros = torch.full_like(scales, 7, dtype=torch.int32)  # GPTQ stores one less
    groups = (torch.arange(weight.shape[1]) // GROUP).to(torch.int32)
    parts = {"qweight": _pack(numbers, 0), "qzeros": _pack(zeros, 1), "scales": scales, "g_idx": groups}
    return {f"/{name}": part for name, part in parts.items()}, dense


def awq(weight):
    numbers, scales, dense = _four_bits(weight)
    zeros = torch.full_like(scales, 8, dtype=torch.int32)
    parts = {"qweight": _pack(numbers, 1, AWQ_ORDER), "qzeros": _pack(zeros, 1, AWQ_ORDER), "scales": scales}
    return {f"/{name}": part for name, part in parts.items()}, dense


def packed(weight):
    """Quantize as compressed-tensors does in its format pack-quantized."""
    numbers, scales, dense = _four_bits(weight)
    shape = torch.tensor(weight.shape)
    parts = {"weight_packed": _pack(numbers.t(), 1), "weight_scale": scales.t().float(), "weight_shape": shape}
    return {f"/{name}": part for name, part in parts.items()}, dense


def linears(quantize, chosen):
    """Return the change of `copy_model` that quantizes the linear weights whose names contain one of `chosen`."""

    def change(name, weight):
        if weight.dim() != 2 or "embed" in name or not any(part in name for part in chosen):
            return {name: weight}, weight
        stored, dense = quantize(weight)
        stem = name.removesuffix(".weight")
        return {f"{stem}.{key[1:]}" if key[:1] == "/" else name + key: part for key, part in stored.items()}, dense

    return change
