"""LoRA adapters with random weights for the tiny models, saved by PEFT."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText


def open_base(folder: Path):
    """Return the model in a folder as transformers loads it."""
    return AutoModelForImageTextToText.from_pretrained(folder).eval()


def save_adapter(base: Path, folder: Path, scale: float = 0.02, config: Any = None, **options: Any) -> PeftModel:
    """Save an adapter for the model in `base`, and return the adapted model, which is not merged."""
    torch.manual_seed(7)
    config = config or LoraConfig(r=4, lora_alpha=8, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT uses what transformers deprecates
        adapted = get_peft_model(open_base(base), config).eval()
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += scale * torch.randn_like(parameter)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted.save_pretrained(folder)
    return adapted


def change_config(folder: Path, **values: Any) -> Path:
    """Change fields of adapter_config.json and return the folder."""
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return folder
