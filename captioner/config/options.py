"""The settings as keyword arguments, for editors and type checkers; `Settings` says what each one does."""

from collections.abc import Sequence
from os import PathLike
from typing import Literal, TypedDict

from captioner.values import ExistingPolicy, KindFilter, Quantization

Auto = Literal["auto"] | None


class SettingsOptions(TypedDict, total=False):
    """Every field of `Settings` except the folder. None means not given."""

    model: str | None
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None
    devices: str | Sequence[str] | None
    quantization: Quantization | None
    batch_size: int | None
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] | None
    sage_attention: bool | None
    compile: bool | None
    offline: bool | None
    models_folder: str | PathLike[str] | None

    fps: float | None
    max_frames: int | None
    frame_size: int | None
    decode_threads: int | None

    max_new_tokens: int | None
    temperature: float | Auto
    top_p: float | Auto
    top_k: int | Auto
    repetition_penalty: float | Auto
    seed: int | None

    prompt: str | None
    prompt_name: str | None
    existing: ExistingPolicy | None
    trigger_word: str | None
    caption_prefix: str | None
    caption_suffix: str | None
    recursive: bool | None
    kinds: KindFilter | None
