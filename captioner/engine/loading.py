"""Load a model onto its device, report how it runs, and release it."""

import gc
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.utils import is_flash_attn_2_available

from captioner.engine.adapter import merge_adapter
from captioner.engine.adapter_files import check_adapter
from captioner.engine.chat import check_chat, end_tokens, media_of, renderer
from captioner.engine.checkpoint import ADAPTER_FILE, describe_adapter, stored_weights
from captioner.engine.core import avoid_attention_plans, use_device
from captioner.engine.formats import check_format, count_weights, describe_stored, is_unpacked, stored_quantization
from captioner.engine.isolation import LOCAL, from_folder_alone, one_line
from captioner.engine.model_files import check_files
from captioner.engine.quantization import bitsandbytes_config, describe, plan_quantization
from captioner.engine.weights import SMALL_MODEL, check_loaded, loaded_bytes
from captioner.errors import ModelError
from captioner.system.devices import CUDA_MISSING, check_quantization, cuda_missing
from captioner.system.resources import available_bytes
from captioner.values import QUANTIZED_BYTES, CapabilityReport, ModelSpec

log = logging.getLogger(__name__)

MEMORY_RESERVE = 1.15  # times the weights: also room for buffers, a first batch and the allocator


@dataclass
class LoadedModel:
    """A model in evaluation mode, its processor, and a report to which the core that runs it adds rows."""

    model: PreTrainedModel
    processor: ProcessorMixin
    report: CapabilityReport

    def close(self) -> None:
        """Drop the model and free its memory; nothing may use it afterwards."""
        del self.model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def load(folder: Path, spec: ModelSpec) -> LoadedModel:
    """Load the model in `folder` with the options of `spec`. Raises ModelError with one line."""
    started = time.monotonic()
    device = pick_device(spec.device)
    use_device(device)
    avoid_attention_plans()
    check_quantization(spec.quantization, spec.dtype, (str(device),))
    check_adapter(spec.adapter, spec.source, spec.quantization)
    attention = _pick_attention(spec.attention, device)
    with from_folder_alone(), one_line(f"cannot load the model in {folder}", folder.name):
        config = _read_config(folder)
        check_format(config, folder, device)
        dtype = pick_dtype(spec.dtype, device, sum(weight.numel for weight in stored_weights(folder).values()))
        plan = None if spec.quantization == "none" else plan_quantization(config)
        num_quantized = plan.num_weights if plan else 0
        each = QUANTIZED_BYTES.get(spec.quantization, 0.0)
        stored = stored_quantization(config)
        num_unpacked = count_weights(config) if is_unpacked(stored) else 0
        needed = check_memory(folder, dtype, device, num_quantized, each, stored, num_unpacked)
        processor = _load_processor(folder, config)
        options = {
            "config": config,
            "dtype": dtype,
            "device_map": {"": str(device)},
            "attn_implementation": attention,
            "quantization_config": bitsandbytes_config(spec.quantization, dtype, plan) if plan else None,
        }
        try:
            model = _load_model(folder, options)
        except torch.OutOfMemoryError:
            raise ModelError(_too_little_memory(folder, device, needed, None)) from None
        if spec.adapter:
            model = merge_adapter(model, Path(spec.adapter))
        model.generation_config.eos_token_id = end_tokens(processor, model.generation_config, folder)
    _project_patches_by_product(model)
    seconds = time.monotonic() - started
    quantization = describe_stored(stored, dtype) or describe(spec.quantization)
    report = _report(model, device, dtype, quantization, spec, seconds)
    if "video" not in media_of(processor):
        report = replace(report, rows=(*report.rows, ("clips", "as images, without times: the model takes no videos")))
    return LoadedModel(model, processor, report)


def _load_model(folder: Path, options: dict[str, Any]) -> PreTrainedModel:
    loaded = AutoModelForImageTextToText.from_pretrained(
        folder,
        **options,
        **LOCAL,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # check_loaded names them
        output_loading_info=True,
    )
    # transformers' annotation does not know output_loading_info
    model, info = cast(tuple[PreTrainedModel, dict[str, Any]], loaded)
    check_loaded(model, info, folder.name)
    return model.eval()


def pick_device(name: str) -> torch.device:
    """Return the device; "auto" is the first CUDA device, else Apple's GPU, else the CPU. Raises ModelError."""
    if name == "auto":
        kind = "cuda:0" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(kind)
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"unknown device {name!r}; use auto, cpu, mps, cuda:0, cuda:1, ...") from None
    if device.type == "cuda":
        if not torch.cuda.is_available():
            built = torch.version.cuda or torch.version.hip
            raise ModelError(f"{name}: no usable GPU driver was found" if built else f"{name}: {CUDA_MISSING}")
        if (device.index or 0) >= torch.cuda.device_count():
            raise ModelError(f"{name} does not exist; this machine has {torch.cuda.device_count()} CUDA device(s)")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError("mps: Apple's GPU is not available here")
    return device


def pick_dtype(name: str, device: torch.device, num_weights: int = 0) -> torch.dtype:
    """Return the dtype; "auto" is bfloat16 if the device computes in it, else float16 on a GPU and float32 on a CPU.

    Models of less than 50 million weights stay in float32 on a CPU: they would gain nothing.
    """
    if name != "auto":
        return getattr(torch, name)
    if device.type == "cpu":
        return torch.bfloat16 if num_weights >= SMALL_MODEL and cpu_has_bfloat16() else torch.float32
    if device.type == "cuda":
        with torch.cuda.device(device):  # the check is about the current device
            return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.bfloat16


def cpu_has_bfloat16() -> bool:
    """Return True if this machine's CPU multiplies bfloat16 without converting it (AMX, AVX-512 BF16, Arm BF16)."""
    names = "amx_bf16", "avx512_bf16", "bf16", "arm_bf16"
    if ask := getattr(torch.cpu, "get_capabilities", None):  # since torch 2.11
        return any(ask().get(name) for name in names)
    return torch.cpu._is_avx512_bf16_supported()


def check_memory(
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    num_quantized: int = 0,
    quantized_bytes: float = 0.0,
    stored: dict[str, Any] | None = None,
    num_unpacked: int = 0,
) -> int:
    """Return the bytes of the weights, so many of them quantized. Raises ModelError if there is less free memory.

    stored: the quantization_config of a quantized checkpoint. num_unpacked: its weights, if they become `dtype`.
    """
    needed = num_unpacked * dtype.itemsize or loaded_bytes(
        stored_weights(folder).values(), stored or {}, dtype, num_quantized, quantized_bytes
    )
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()
    if needed * MEMORY_RESERVE > free:
        raise ModelError(_too_little_memory(folder, device, needed, free))
    return needed


def _load_processor(folder: Path, config: transformers.PreTrainedConfig) -> ProcessorMixin:
    """Return the processor and check that it can ask the model about images, before the weights are loaded."""
    with renderer.starting(), one_line(f"cannot load the processor of the model in {folder}", folder.name):
        processor = AutoProcessor.from_pretrained(folder, **LOCAL)
    missing = [part for part in ("tokenizer", "image_processor") if getattr(processor, part, None) is None]
    if missing:
        files = "preprocessor_config.json" if "image_processor" in missing else "tokenizer.json"
        raise ModelError(f"{folder} has no {missing[0].replace('_', ' ')} ({files}); download the model again")
    processor.tokenizer.padding_side = "left"
    try:
        check_chat(processor, getattr(config.get_text_config(decoder=True), "vocab_size", None) or 0)
    except ModelError as error:
        raise ModelError(f"{folder.name}: {error}") from None
    return processor


def _too_little_memory(folder: Path, device: torch.device, needed: int, free: int | None) -> str:
    has = f"only {free / 1e9:.1f} GB are free" if free is not None else "less is free"
    what_to_do = "choose a smaller model, close other programs, or use another device"
    return f"{folder.name} needs about {needed * MEMORY_RESERVE / 1e9:.1f} GB on {device}, but {has}; {what_to_do}"


def _read_config(folder: Path) -> transformers.PreTrainedConfig:
    if (folder / ADAPTER_FILE).is_file():
        raise ModelError(f"{folder} is {describe_adapter(folder)}")
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} contains no config.json, so it is not a model folder")
    check_files(folder)
    with one_line(f"cannot read {folder / 'config.json'}", folder.name):
        config = AutoConfig.from_pretrained(folder, **LOCAL)
    return getattr(config, "thinker_config", config)  # of an omni model, the part that sees and writes


def _pick_attention(name: str, device: torch.device) -> str:
    if name == "flash_attention_2" and not (device.type == "cuda" and is_flash_attn_2_available()):
        raise ModelError("attention flash_attention_2 needs an NVIDIA GPU and the flash-attn package; use sdpa")
    return "sdpa" if name == "auto" else name


class PatchProjection(nn.Linear):
    """A 3-D convolution whose stride equals its kernel, as one matrix product: 7 times faster on a CPU.

    transformers calls this `fusion_config`, but up to 5.17 it works for only one load in each process.
    """

    def __init__(self, conv: nn.Conv3d) -> None:
        weight = conv.weight.flatten(1)  # (out, in * frames * height * width)
        super().__init__(weight.shape[1], weight.shape[0], conv.bias is not None, weight.device, weight.dtype)
        self.weight = nn.Parameter(weight, requires_grad=False)
        if conv.bias is not None:
            self.bias = nn.Parameter(conv.bias, requires_grad=False)

    def forward(self, patches: Tensor) -> Tensor:  # (N, in, frames, height, width) -> (N, out)
        return super().forward(patches.flatten(1))


def _project_patches_by_product(model: PreTrainedModel) -> None:
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv3d) and child.kernel_size == child.stride and not any(child.padding):
                setattr(module, name, PatchProjection(child))


def _report(
    model: PreTrainedModel, device: torch.device, dtype: torch.dtype, quantization: str, spec: ModelSpec, seconds: float
) -> CapabilityReport:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    rows = (
        ("model", f"{type(model).__name__}, {model.num_parameters() / 1e6:,.0f} M parameters"),
        ("device", f"{device} ({name})"),
        ("dtype", str(dtype).removeprefix("torch.")),
        ("quantization", quantization),
        *((("adapter", f"{Path(spec.adapter).name}, merged"),) if spec.adapter else ()),
        ("weights", f"{model.get_memory_footprint() / 1e9:.2f} GB"),
        ("loaded in", f"{seconds:.1f} s"),
        ("software", f"torch {torch.__version__}, transformers {transformers.__version__}"),
    )
    notes = (("note", CUDA_MISSING),) if device.type == "cpu" and cuda_missing() else ()
    return CapabilityReport(str(device), rows + notes)
