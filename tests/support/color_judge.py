"""A model server that looks at the pictures: it says yes to captions that name the color of most of the frames."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

COLORS = {"red": (200, 30, 30), "green": (30, 170, 30), "blue": (30, 30, 200), "yellow": (210, 200, 30)}


def paint(path, color: str) -> None:
    """Save a picture of one color."""
    Image.new("RGB", (96, 64), COLORS[color]).save(path)


def judge_color(content: list[dict[str, Any]]) -> dict[str, float]:
    """Say how likely yes and no are: the more, the farther the frames are from the color that the question names."""
    pictures = [part["image_url"]["url"].split(",")[1] for part in content if part["type"] == "image_url"]
    pixels = [np.asarray(Image.open(io.BytesIO(base64.b64decode(each))).convert("RGB")) for each in pictures]
    mean = np.mean([each.mean((0, 1)) for each in pixels], 0)
    named = next((np.array(rgb) for color, rgb in COLORS.items() if color in content[-1]["text"].lower()), None)
    distance = 441.0 if named is None else float(np.linalg.norm(mean - named))
    yes = 0.97 * float(np.exp(-distance / 60))
    return {"Yes": 0.9 * yes, "yes": 0.1 * yes, "No": 0.98 - yes, "Maybe": 0.02}
