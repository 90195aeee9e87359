"""transformers confined to a model's folder: no code of the model, no downloads, no questions, one line for errors."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from huggingface_hub import constants
from transformers import dynamic_module_utils

from captioner.errors import CaptionerError, ModelError

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


@contextlib.contextmanager
def from_folder_alone() -> Iterator[None]:
    """Keep transformers from downloading what a model names, such as kernels, and from asking whether to run its code.

    LOCAL does not reach all that transformers loads: some of its classes load others without these options.
    """
    before = constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE
    constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE = True, 0  # 0: it refuses instead of asking
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, dynamic_module_utils.TIME_OUT_REMOTE_CODE = before


@contextlib.contextmanager
def one_line(what: str, name: str) -> Iterator[None]:
    """Turn any error into a ModelError with one line that begins with `what`. name: that of the model."""
    try:
        yield
    except (CaptionerError, torch.OutOfMemoryError, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # anything, for files that are damaged on purpose; a panic of Rust is no Exception
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        if "trust_remote_code" in str(error) or "custom code" in str(error):
            raise ModelError(f"{name} needs to run code from its own files, which is not allowed") from None
        raise ModelError(f"{what}: {reason}") from error
