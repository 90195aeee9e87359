"""The configuration of each trainer for a folder: keys as in its own documentation, values of the target.

A function returns file name -> content. What the trainer cannot know without its user, such as the paths of the model,
is named in the comment at the head.
"""

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

import tomli_w
import yaml

from captioner.dataset.exports.config_values import ConfigValues, list_name
from captioner.formatting import printable
from captioner.values import MediaKind

KINDS: tuple[MediaKind, ...] = ("video", "image")
Files = dict[str, str]
SHORT_CLIP = 33  # frames: the smaller bucket of clips in diffusion-pipe's own example
AI_TOOLKIT_TRAINING = {
    "batch_size": 1,
    "steps": 3000,
    "gradient_accumulation": 1,
    "train_unet": True,
    "train_text_encoder": False,
    "gradient_checkpointing": True,
    "optimizer": "adamw8bit",
    "lr": 0.0001,
    "dtype": "bf16",
    "cache_text_embeddings": True,
    "disable_sampling": True,
}


def musubi(values: ConfigValues) -> Files:
    """Return the dataset of musubi-tuner, with a list for the images, and one for the clips of each rate.

    A list has one `source_fps`, from which frames are dropped to have the rate of the model.
    """
    datasets = []
    rates: dict[MediaKind, tuple[float, ...]] = {"video": values.rates, "image": (0.0,)}
    for kind, rate in ((each, rate) for each in values.folders for rate in rates[each]):
        name = list_name(kind, rate)
        about: dict[str, Any] = {
            f"{kind}_jsonl_file": values.path(f"{name}.jsonl"),
            "cache_directory": values.path(f"cache-{name}"),
        }
        if kind == "video":
            about |= {"target_frames": [values.num_frames], "frame_extraction": "head"}
        datasets.append(about | ({"source_fps": rate} if rate else {}))
    general = {"resolution": [*values.size], "batch_size": 1, "enable_bucket": True, "bucket_no_upscale": False}
    notes = ["Use it with --dataset_config. Start musubi-tuner in this folder: older versions resolve the lists there."]
    return {"dataset.toml": _toml(values, {"general": general, "datasets": datasets}, *notes)}


def diffusion_pipe(values: ConfigValues) -> Files:
    """Return the dataset of diffusion-pipe, which reads the top level of each folder."""
    rule, buckets = values.target.frames, {1}
    if "video" in values.folders:
        allowed = rule is None or SHORT_CLIP % rule.step == rule.remainder
        buckets |= {values.num_frames, SHORT_CLIP if allowed else values.num_frames}
    config: dict[str, Any] = {
        "resolutions": [512 if "video" in values.folders else 1024],
        "enable_ar_bucket": True,
        "min_ar": 0.5,
        "max_ar": 2.0,
        "num_ar_buckets": 9,
        "frame_buckets": sorted(buckets),
        "directory": [{"path": str(folder), "num_repeats": 1} for folder in values.all_folders],
    }
    return {"dataset.toml": _toml(values, config, "Name it as `dataset` in the configuration of the training.")}


def ai_toolkit(values: ConfigValues) -> Files:
    """Return a job of ai-toolkit with the model of the target."""
    rate = int(values.target.fps or 24)
    is_video = "video" in values.folders
    of_clips = {"num_frames": values.num_frames, "fps": rate} | ({"do_audio": True} if values.target.sound else {})
    datasets = [
        {
            "folder_path": str(folder),
            "caption_ext": values.caption_extension.removeprefix("."),
            "caption_dropout_rate": 0.05,
            "cache_latents_to_disk": True,
            "resolution": [512, 768] if is_video else [512, 768, 1024],
            **(of_clips if is_video else {"num_frames": 1}),
        }
        for folder in values.all_folders
    ]
    arch = values.special["arch"]
    model = {"name_or_path": values.special["model"], "arch": arch, "quantize": True, "quantize_te": True}
    process = {
        "type": "sd_trainer",
        "training_folder": "output",
        "device": "cuda:0",
        "network": {"type": "lora", "linear": 32, "linear_alpha": 32},
        "save": {"dtype": "bf16", "save_every": 250, "max_step_saves_to_keep": 4},
        "datasets": datasets,
        "train": AI_TOOLKIT_TRAINING | {"noise_scheduler": "ddpm" if arch == "sdxl" else "flowmatch"},
        "model": model | values.special.get("load", {}),
    }
    job = {"job": "extension", "config": {"name": f"my_{arch}_lora", "process": [process]}}
    return {"config.yaml": _yaml(values, {**job, "meta": {"name": "[name]", "version": "1.0"}})}


def ltx_trainer(values: ConfigValues) -> Files:
    """Return the configuration of the LTX trainer, with the command that makes its latents."""
    width, height = values.size
    counts = [values.num_frames if kind == "video" else 1 for kind in values.folders]
    buckets = ";".join(f"{width}x{height}x{count}" for count in counts)
    config = {
        "model": {
            "model_path": "path/to/ltx-model.safetensors",
            "text_encoder_path": "path/to/gemma-text-encoder",
            "training_mode": "lora",
        },
        "lora": {"rank": 32, "alpha": 32, "target_modules": ["to_k", "to_q", "to_v", "to_out.0"]},
        "training_strategy": {
            "name": "flexible",
            "video": {"is_generated": True, "latents_dir": "latents"},
            "audio": {"is_generated": True, "latents_dir": "audio_latents"},
        },
        "optimization": {"learning_rate": 1e-4, "steps": 2000, "batch_size": 1, "enable_gradient_checkpointing": True},
        "data": {"preprocessed_data_root": values.path(".precomputed"), "num_dataloader_workers": 2},
        "validation": {"samples": [], "video_dims": [width, height, values.num_frames], "interval": None},
        "output_dir": values.path("output"),
    }
    if "video" not in values.folders:
        del config["training_strategy"]["audio"]  # type: ignore[attr-defined]
    command = [
        "uv run python scripts/process_dataset.py",
        f"{shlex.quote(values.path('dataset.jsonl'))} --resolution-buckets {shlex.quote(buckets)}",
        "--model-path MODEL --text-encoder-path GEMMA",
    ]
    first = f"First: {' '.join(command)}"
    overwrite = "Add --overwrite after you changed captions or the model, and the VAE paths for the split LTX-2.5."
    return {"config.yaml": _yaml(values, config, first, overwrite, "Then set model_path and text_encoder_path below.")}


def onetrainer(values: ConfigValues) -> Files:
    """Return the concepts of OneTrainer, one for each folder."""
    concepts = [
        {
            "__version": 2,
            "name": folder.name,
            "path": str(folder),
            "enabled": True,
            "type": "STANDARD",
            "include_subdirectories": False,
            "text": {"__version": 0, "prompt_source": "sample"},
        }
        for folder in values.all_folders
    ]
    return {"concepts.json": json.dumps(concepts, indent=2) + "\n"}


def sd_scripts(values: ConfigValues) -> Files:
    """Return the dataset of sd-scripts, with a subset for each folder."""
    config = {
        "general": {"caption_extension": values.caption_extension, "shuffle_caption": False},
        "datasets": [
            {
                "resolution": [*values.size],
                "batch_size": 1,
                "enable_bucket": True,
                "bucket_no_upscale": True,
                "subsets": [{"image_dir": str(folder), "num_repeats": 1} for folder in values.all_folders],
            }
        ],
    }
    return {"dataset.toml": _toml(values, config, "Use it with --dataset_config.")}


def simpletuner(values: ConfigValues) -> Files:
    """Return the data back ends of SimpleTuner, one for each folder and kind, and one for the texts."""
    name = values.target.name
    backends: list[dict[str, Any]] = []
    for kind, folders in values.folders.items():
        for number, folder in enumerate(folders, 1):
            about: dict[str, Any] = {
                "id": f"{name}-{kind}s-{number}",
                "type": "local",
                "dataset_type": kind,
                "instance_data_dir": str(folder),
                "caption_strategy": "textfile",
                "disable_multiline_split": True,
                "metadata_backend": "discovery",
                "resolution": 480 if kind == "video" else 1024,
                "resolution_type": "pixel_area",
                "crop": False,
                "cache_dir_vae": values.path(f"cache-vae/{kind}s-{number}"),
                "repeats": 0,
            }
            if kind == "video":
                about["video"] = {"num_frames": values.num_frames, "min_frames": values.num_frames}
                about |= {"audio": {"auto_split": True, "allow_zero_audio": True}} if values.target.sound else {}
            backends.append(about)
    texts = {"id": f"{name}-texts", "type": "local", "dataset_type": "text_embeds", "default": True}
    backends.append({**texts, "cache_dir": values.path("cache-text"), "write_batch_size": 128})
    return {"multidatabackend.json": json.dumps(backends, indent=2) + "\n"}


def diffsynth(values: ConfigValues) -> Files:
    """Return a script that starts the training of DiffSynth-Studio; options of the model are added to its command."""
    width, height = values.size
    sizes = ["--height", str(height), "--width", str(width), "--num_frames", str(values.num_frames)]
    lines = [
        ["accelerate", "launch", f"examples/{values.special['folder']}/model_training/train.py"],
        ["--dataset_base_path", str(values.to)],
        ["--dataset_metadata_path", values.path("metadata.jsonl")],
        ["--data_file_keys", "video" if values.target.kind == "video" else "image"],
        sizes if values.target.kind == "video" else ["--max_pixels", str(width * height)],
        ["--dataset_repeat", "1"],
        ["--output_path", values.path("output")],
    ]
    notes = (
        "Start it in the folder of DiffSynth-Studio with the model's options, which are in the scripts of",
        f"examples/{values.special['folder']}/model_training/lora: sh train.sh --model_id_with_origin_paths ...",
    )
    command = " \\\n  ".join([shlex.join(line) for line in lines] + ['"$@"'])
    return {"train.sh": f"#!/bin/sh\n{_head(values, notes)}{command}\n"}


BUILDERS: Mapping[str, Callable[[ConfigValues], Files]] = {
    "musubi": musubi,
    "diffusion-pipe": diffusion_pipe,
    "ai-toolkit": ai_toolkit,
    "ltx-trainer": ltx_trainer,
    "onetrainer": onetrainer,
    "sd-scripts": sd_scripts,
    "simpletuner": simpletuner,
    "diffsynth": diffsynth,
}


def _head(values: ConfigValues, notes: tuple[str, ...]) -> str:
    lines = (f"For {values.target.title}. Keys: {values.source}", *notes)
    return "".join(f"# {printable(line)}\n" for line in lines)


def _toml(values: ConfigValues, content: dict[str, Any], *notes: str) -> str:
    return f"{_head(values, notes)}\n{tomli_w.dumps(content)}"


def _yaml(values: ConfigValues, content: dict[str, Any], *notes: str) -> str:
    text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)
    return f"{_head(values, notes)}---\n{text}"
