"""What the demo model learns: the frames of a scene, and its one correct caption in each of three styles."""

import numpy as np

from captioner.demo.world import Scene, draw

STYLES = ("sentence", "short", "tags")
PROMPT_STYLES = {  # built-in prompt -> style of the demo model's answer
    "Detailed": "sentence",
    "Short": "short",
    "Wan": "sentence",
    "HunyuanVideo": "sentence",
    "LTX": "sentence",
    "Character LoRA": "sentence",
    "Style LoRA": "sentence",
    "Motion and camera": "sentence",
    "Tags": "tags",
    "LTX-2": "sentence",  # this one and those below came after its training
    "MiniMax-H3": "sentence",
    "MiniMax-H3 still": "sentence",
    "Still image": "sentence",
    "Ideogram 4": "sentence",
}
MOTION_WORDS = {  # motion -> (words in a sentence, words in a short caption)
    "left": ("moves to the left", "moving left"),
    "right": ("moves to the right", "moving right"),
    "up": ("moves up", "moving up"),
    "down": ("moves down", "moving down"),
    "grow": ("grows larger", "growing"),
    "shrink": ("gets smaller", "shrinking"),
    "orbit": ("moves in a circle", "circling"),
    "still": ("stays still", "staying still"),
}


def caption(scene: Scene, style: str) -> str:
    """Return the only correct caption of a scene in one of `STYLES`."""
    background = f"{scene.background} background"
    if style == "tags":
        tags = [MOTION_WORDS[scene.motion][1]] if scene.motion else []
        return ", ".join([scene.shape, scene.color, *tags, background])
    if style == "short":
        motion = f" {MOTION_WORDS[scene.motion][1]}" if scene.motion else ""
        return f"{scene.color} {scene.shape}{motion}"
    article = "An" if scene.color[0] in "aeiou" else "A"
    motion = f" {MOTION_WORDS[scene.motion][0]}" if scene.motion else ""
    return f"{article} {scene.color} {scene.shape}{motion} on a {background}."


def draw_clip(scene: Scene, num_frames: int, size: int) -> np.ndarray:
    """Draw all frames of a clip at equal intervals -> uint8 (num_frames, size, size, 3) RGB."""
    return np.stack([draw(scene, i / max(num_frames - 1, 1), size) for i in range(num_frames)])
