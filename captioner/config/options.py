"""The settings by name: as keyword arguments for editors and type checkers, and in the groups that users see."""

from collections.abc import Sequence
from os import PathLike
from typing import Literal, TypedDict

from captioner.values import ExistingPolicy, KindFilter, Quantization, SpanMode

Auto = Literal["auto"] | None

GROUPS = {
    "Model": (
        "model", "adapter", "quantization", "dtype", "devices", "endpoint", "endpoint_key", "ray", "ray_workers",
        "ray_gpus", "ray_cpus", "batch_size", "attention", "sage_attention", "compile",
    ),
    "Target": ("target", "caption_form", "token_limit", "target_fps", "target_frames"),
    "Frames": ("span", "windows", "windows_beside", "fps", "max_frames", "frame_size", "decode_threads"),
    "Generation": (
        "prompt_name", "prompt", "max_new_tokens", "thinking_budget", "retry_cut", "temperature", "top_p", "top_k",
        "repetition_penalty", "seed",
    ),
    "Output": (
        "existing", "captions_to", "caption_extension", "caption_encoding", "trigger_word", "caption_prefix",
        "caption_suffix",
    ),
    "Files": ("exclude",),
    "Application": ("models_folder", "offline"),
}  # fmt: skip
FOLDER_SETTINGS = ("folder", "recursive", "kinds")


class SettingsOptions(TypedDict, total=False):
    """Every field of `Settings` except the folder. None means not given."""

    model: str | None
    adapter: str | PathLike[str] | None
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None
    devices: str | Sequence[str] | None
    endpoint: str | Sequence[str] | None
    endpoint_key: str | None
    ray: str | None
    ray_workers: int | None
    ray_gpus: float | None
    ray_cpus: int | None
    quantization: Quantization | None
    batch_size: int | None
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] | None
    sage_attention: bool | None
    compile: bool | None
    offline: bool | None
    models_folder: str | PathLike[str] | None

    target: str | None
    caption_form: Literal["auto", "paragraph", "tags", "h3", "json", "free"] | None
    token_limit: int | Auto
    target_fps: float | Auto
    target_frames: int | Auto

    span: SpanMode | None
    windows: str | None
    windows_beside: bool | None
    fps: float | None
    max_frames: int | None
    frame_size: int | None
    decode_threads: int | None

    max_new_tokens: int | None
    thinking_budget: int | Auto
    retry_cut: bool | None
    temperature: float | Auto
    top_p: float | Auto
    top_k: int | Auto
    repetition_penalty: float | Auto
    seed: int | None

    prompt: str | None
    prompt_name: str | None
    existing: ExistingPolicy | None
    captions_to: str | PathLike[str] | None
    caption_extension: str | None
    caption_encoding: str | None
    trigger_word: str | None
    caption_prefix: str | None
    caption_suffix: str | None
    recursive: bool | None
    kinds: KindFilter | None
    exclude: str | Sequence[str] | None
