"""Train the demo model from scratch: `python -m tests.tools.demo_model.train OUT`.

It takes about an hour on two CPU cores. Training starts with images, to learn shape, color and background, continues
with clips of 2 and 4 frames, to learn motion, and ends with clips of 2 to 12 frames. Some images are always included.
This module assembles the batches itself, since the processor would take longer than the step; it compares both before
the first step. Each scene has one correct caption, so exact match is the metric.
"""

import argparse
import logging
import math
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import (
    AttentionInterface,
    PreTrainedConfig,
    Qwen2Tokenizer,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)

from captioner.cli.bench import build
from captioner.config.prompts import BUILTIN_PROMPTS
from captioner.demo import world
from captioner.engine.chat import chat_prompt
from tests.tools.demo_model import lesson

log = logging.getLogger(__name__)

SIZE = 128  # pixels; the demo preset's maximum
NUM_VISUAL_TOKENS = (SIZE // (build.PATCH_SIZE * build.MERGE_SIZE)) ** 2
# Two frames share one temporal patch, which makes motion easy to see; the model learns it there first.
SHORT_CLIPS = (2, 2, 4)
CLIP_LENGTHS = (2, 4, 6, 6, 8, 8, 8, 8, 8, 10, 12)

OTHER_PROMPTS = {
    "sentence": ("Describe this video.", "Describe the image.", "What happens here?", "Describe this in one sentence."),
    "short": ("Short caption.", "Caption this in a few words.", "Write a brief caption."),
    "tags": ("Tags only.", "List tags, separated by commas.", "Write keywords for this clip."),
}


@dataclass(frozen=True)
class Batch:
    """Rows with equal prompts and frame counts; only the answers differ in length."""

    input_ids: Tensor  # (B, L) int64, right-padded
    prompt_length: int
    pixels: Tensor  # (B * groups * patches, 1536) float32
    grid: Tensor  # (B, 3) int64
    is_clip: bool


def prompt_text(num_groups: int, times_s: np.ndarray, prompt: str) -> str:
    """Return the processor's text of the chat: an image for 0 groups, else a clip with a time for each group."""
    pad = "<|video_pad|>" if num_groups else "<|image_pad|>"
    visual = "<|vision_start|>" + pad * NUM_VISUAL_TOKENS + "<|vision_end|>"
    if num_groups:
        visual = "<|vision_start|>" + "".join(f"<{t:.1f} seconds>{visual}" for t in times_s) + "<|vision_end|>"
    return f"<|im_start|>user\n{visual}{prompt}<|im_end|>\n<|im_start|>assistant\n"


def patchify(frames: Tensor) -> Tensor:
    """Convert uint8 (B, T, H, W, 3), T even, to float32 (B * patches, 1536) in the processor's order and scale."""
    b, t, h, w, _ = frames.shape
    p, m, tp = build.PATCH_SIZE, build.MERGE_SIZE, build.TEMPORAL_PATCH_SIZE
    x = frames.view(b, t // tp, tp, h // p // m, m, p, w // p // m, m, p, 3)
    x = x.permute(0, 1, 3, 6, 4, 7, 9, 2, 5, 8).reshape(-1, 3 * tp * p * p)
    return (x.float() - 127.5) / 127.5


def degrade(frames: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Make clean drawings look like decoded video: half-size chroma, a little blur, noise and changed brightness."""
    x = torch.from_numpy(frames).float()
    if rng.random() < 0.6:
        luma = x @ torch.tensor([0.299, 0.587, 0.114])
        chroma = (x - luma[..., None]).flatten(0, 1).permute(0, 3, 1, 2)
        chroma = F.interpolate(F.avg_pool2d(chroma, 2), scale_factor=2, mode="bilinear")
        x = luma[..., None] + chroma.permute(0, 2, 3, 1).view_as(x)
    x = x + rng.uniform(-8, 8) + torch.randn(x.shape) * rng.uniform(0, 5)
    return x.round().clamp(0, 255).to(torch.uint8)


def make_batch(tokenizer: Qwen2Tokenizer, rng: np.random.Generator, size: int, num_frames: int) -> Batch:
    """Draw `size` scenes as clips of `num_frames` frames, or as images for 1."""
    still = num_frames == 1
    style = str(rng.choice(lesson.STYLES, p=[0.6, 0.2, 0.2]))
    library = [p.text for p in BUILTIN_PROMPTS if lesson.PROMPT_STYLES[p.name] == style]
    prompt = str(rng.choice(OTHER_PROMPTS[style] if rng.random() < (0.85 if still else 0.7) else library))
    texts, clips, prefix = [], [], ""
    for _ in range(size):
        scene = world.random_scene(rng, still=still)
        while num_frames == 2 and scene.motion == "orbit":  # its first and last frames are equal
            scene = world.random_scene(rng)
        steps = np.linspace(0, 1, num_frames) + rng.uniform(-0.015, 0.015, num_frames) * (not still)
        clips.append(np.stack([world.draw(scene, float(np.clip(s, 0, 1)), SIZE) for s in steps]))
        times_s = np.empty(0)
        if not still:
            times_s = np.linspace(0, rng.uniform(0.8, 9.4), num_frames).reshape(-1, 2).mean(1)
        prefix = prompt_text(num_frames // 2, times_s, prompt)
        texts.append(prefix + lesson.caption(scene, style) + "<|im_end|>")
    frames = degrade(np.stack(clips), rng)
    if still:
        frames = frames.repeat(1, 2, 1, 1, 1)
    side = SIZE // build.PATCH_SIZE
    encoded = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    return Batch(
        input_ids=encoded.input_ids,
        prompt_length=len(tokenizer(prefix).input_ids),
        pixels=patchify(frames),
        grid=torch.tensor([[max(num_frames // 2, 1), side, side]]).repeat(size, 1),
        is_clip=not still,
    )


def answer_logits(model: Qwen3VLForConditionalGeneration, batch: Batch) -> tuple[Tensor, Tensor]:
    """Return logits (B, A, V) for the answer tokens, and these tokens (B, A) with -100 for padding."""
    config, first = model.config, batch.input_ids[:1]
    kinds = (first == config.image_token_id).int() + 2 * (first == config.video_token_id).int()
    name = "video_grid_thw" if batch.is_clip else "image_grid_thw"
    positions, _ = model.model.get_rope_index(first, mm_token_type_ids=kinds, **{name: batch.grid[:1]})
    labels = batch.input_ids[:, batch.prompt_length :]
    pixels_name = "pixel_values_videos" if batch.is_clip else "pixel_values"
    output = model(
        input_ids=batch.input_ids,
        position_ids=positions.expand(3, len(batch.input_ids), -1),
        use_cache=False,
        logits_to_keep=labels.shape[1] + 1,
        **{pixels_name: batch.pixels, name: batch.grid},
    )
    return output.logits[:, :-1], labels.masked_fill(labels == model.generation_config.pad_token_id, -100)


@torch.inference_mode()
def exact_match(model: Qwen3VLForConditionalGeneration, tokenizer: Qwen2Tokenizer, num_frames: int) -> float:
    """Return the share of new scenes for which greedy decoding would give exactly the right caption."""
    batch = make_batch(tokenizer, np.random.default_rng(time.time_ns()), 64, num_frames)
    logits, labels = answer_logits(model, batch)
    return ((logits.argmax(-1) == labels) | (labels == -100)).all(1).float().mean().item()


def check_against_processor(processor: Qwen3VLProcessor) -> None:
    """Raise SystemExit unless the processor gives the same ids and pixels as this module."""
    rng = np.random.default_rng(0)
    frames = lesson.draw_clip(world.random_scene(rng), 6, SIZE)
    indices, prompt = [0, 6, 12, 18, 24, 30], "Describe this video."
    text = chat_prompt(processor, [{"type": "video"}, {"type": "text", "text": prompt}])
    metadata = {"fps": 24.0, "frames_indices": indices, "total_num_frames": 31, "duration": 31 / 24}
    reference = processor(
        text=[text],
        videos=[torch.from_numpy(frames).permute(0, 3, 1, 2)],
        video_metadata=[metadata],
        do_sample_frames=False,
        cap_pixels_per_frame=False,
        return_tensors="pt",
    )
    times_s = (np.array(indices) / 24).reshape(-1, 2).mean(1)
    ours = processor.tokenizer(prompt_text(3, times_s, prompt), return_tensors="pt").input_ids
    if not torch.equal(ours, reference["input_ids"]):
        raise SystemExit("the training prompt differs from the processor's")
    if not torch.allclose(patchify(torch.from_numpy(frames)[None]), reference["pixel_values_videos"], atol=1e-6):
        raise SystemExit("the training pixels differ from the processor's")


def speed_up(model: Qwen3VLForConditionalGeneration) -> None:
    """Replace modules by equivalent ones that take a third less time on a CPU.

    A matrix product replaces the 3-D convolution. Plain attention, one call for all temporal groups, which are equally
    long here, replaces the fused kernel, whose backward pass is slow for them.
    """
    conv = model.model.visual.patch_embed.proj
    model.model.visual.patch_embed.forward = partial(_project_patches, conv)
    AttentionInterface.register("flash_equal_groups", _equal_groups_attention)  # the name asks for group lengths
    for config, attention in ((model.config.vision_config, "flash_equal_groups"), (model.config.text_config, "eager")):
        assert isinstance(config, PreTrainedConfig)
        config._attn_implementation = attention


def _project_patches(conv: torch.nn.Conv3d, patches: Tensor) -> Tensor:
    return F.linear(patches, conv.weight.flatten(1), conv.bias)


def _equal_groups_attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, *_: object,
    scaling: float, max_length_q: int, **__: object,
) -> tuple[Tensor, None]:  # fmt: skip
    """Attend within groups: q, k, v (1, heads, groups * length, dim) -> (1, groups * length, heads, dim)."""
    heads, dim = query.shape[1], query.shape[3]
    q, k, v = (x[0].unflatten(1, (-1, int(max_length_q))).transpose(0, 1) for x in (query, key, value))
    attended = (q @ k.transpose(-1, -2) * scaling).softmax(-1) @ v  # (groups, heads, length, dim)
    return attended.transpose(1, 2).reshape(1, -1, heads, dim), None


@dataclass(frozen=True)
class Schedule:
    """The steps of each stage. The learning rate falls as a cosine over the last stage."""

    stills: int
    short_clips: int
    clips: int
    peak_lr: float

    @property
    def total(self) -> int:
        return self.stills + self.short_clips + self.clips

    def learning_rate(self, step: int) -> float:
        warmup = min(1, (step + 1) / 200)
        progress = max(0, step - self.stills - self.short_clips) / max(1, self.clips)
        return self.peak_lr * warmup * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)

    def num_frames(self, step: int, rng: np.random.Generator) -> int:
        if step < self.stills or rng.random() < 0.15:
            return 1
        return int(rng.choice(SHORT_CLIPS if step < self.stills + self.short_clips else CLIP_LENGTHS))


def train(out: Path, resume: Path | None, schedule: Schedule, batch_size: int, seed: int) -> None:
    """Train by the schedule, from new weights or those in `resume`, and save to `out` regularly."""
    tokenizer = build.build_tokenizer(_corpus())
    processor = build.build_processor(tokenizer)
    check_against_processor(processor)
    model = build.build_model(tokenizer, seed=seed)
    assert isinstance(model, Qwen3VLForConditionalGeneration)
    if resume:
        earlier = Qwen3VLForConditionalGeneration.from_pretrained(resume, dtype=torch.float32, use_safetensors=True)
        model.load_state_dict(earlier.state_dict())
    speed_up(model)
    log.info("%.2f M parameters, %d tokens", sum(p.numel() for p in model.parameters()) / 1e6, len(tokenizer))
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=schedule.peak_lr, weight_decay=0.01, betas=(0.9, 0.98))
    start, recent = time.monotonic(), []
    for step in range(schedule.total):
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate(step)
        batch = make_batch(tokenizer, rng, batch_size, schedule.num_frames(step, rng))
        recent.append(_train_step(model, optimizer, batch))
        if (step + 1) % 50 == 0:
            scores = {n: exact_match(model, tokenizer, n) for n in (1, 2, 8)}
            seconds = time.monotonic() - start
            log.info("step %d  %.0f s  loss %.4f  exact %s", step + 1, seconds, np.mean(recent), scores)
            recent.clear()
        if (step + 1) % 200 == 0 or step + 1 == schedule.total:
            save(model, processor, out)


def _corpus() -> list[str]:
    """Return the texts that the tokenizer is trained on; they do not depend on the seed, so weights can be resumed."""
    prompts = [p.text for p in BUILTIN_PROMPTS] + [p for prompts in OTHER_PROMPTS.values() for p in prompts]
    rng = np.random.default_rng(0)
    scenes = [world.random_scene(rng) for _ in range(400)]
    texts = [lesson.caption(scene, style) for scene in scenes for style in lesson.STYLES]
    return 20 * prompts + texts + ["user", "assistant", "<0.5 seconds>"] * 50


def _train_step(model: Qwen3VLForConditionalGeneration, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    """Update the weights with one batch and return its loss."""
    with torch.autocast("cpu", torch.bfloat16):
        logits, labels = answer_logits(model, batch)
    loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def save(model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor, out: Path) -> None:
    """Write float16 weights and everything else that `from_pretrained` needs."""
    model.save_pretrained(out, state_dict={k: v.half() for k, v in model.state_dict().items()})
    processor.save_pretrained(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the model")
    parser.add_argument("--resume", type=Path, help="start from the weights in this folder")
    parser.add_argument("--stills", type=int, default=1000, help="steps with images first")
    parser.add_argument("--short-clips", type=int, default=600, help="steps with clips of 2 and 4 frames after them")
    parser.add_argument("--clips", type=int, default=1200, help="steps with clips of all lengths at the end")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=6e-4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    schedule = Schedule(args.stills, args.short_clips, args.clips, args.lr)
    train(args.out, args.resume, schedule, args.batch_size, args.seed)


if __name__ == "__main__":
    main()
