"""Contact sheets: one picture of all frames of a file, which shows a person what the model sees."""

import io
import math
from dataclasses import replace

from PIL import Image, ImageDraw, ImageFont

from captioner.media.sample import sample
from captioner.system.pinning import Within
from captioner.values import Frames, MediaItem, SamplePlan

GAP = 6  # pixels between frames and around them
BACKGROUND = (24, 24, 27)
LABEL_COLOR = (244, 244, 245)
ASPECT = 1.6  # width divided by height of the whole sheet, about that of a screen
MAX_PIXELS = 16_000_000

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def make_sheet(item: MediaItem, plan: SamplePlan, within: Within = None) -> bytes:
    """Return a JPEG of the frames that the plan takes, smaller if the sheet would be too large. Raises MediaError.

    within: the folders that the file has to be in once links are followed; None: any.
    """
    side = min(plan.frame_size, int((MAX_PIXELS / plan.max_frames) ** 0.5))
    smaller = replace(plan, frame_size=max(32, side))
    buffer = io.BytesIO()
    contact_sheet(sample(item.path, smaller, item.kind, within)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def contact_sheet(frames: Frames, columns: int | None = None) -> Image.Image:
    """Return an RGB picture with all frames row by row, each with its time; by default in the shape of a screen."""
    count, height, width, _ = frames.pixels.shape
    columns = min(count, columns or max(1, round(math.sqrt(count * ASPECT * height / width))))
    rows = math.ceil(count / columns)
    sheet = Image.new("RGB", (GAP + columns * (width + GAP), GAP + rows * (height + GAP)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=max(10, min(16, height // 10)))
    for number, (pixels, time_s) in enumerate(zip(frames.pixels, frames.clip_times_s, strict=True)):
        row, column = divmod(number, columns)
        left, top = GAP + column * (width + GAP), GAP + row * (height + GAP)
        sheet.paste(Image.fromarray(pixels), (left, top))
        if count > 1:
            _draw_label(draw, font, (left + 4, top + height - 4), clock_text(float(time_s)))
    return sheet


def clock_text(time_s: float) -> str:
    """Return the time to a hundredth of a second: "0:03.25" or "1:02:03.50"."""
    hundredths = round(time_s * 100)
    minutes, rest = divmod(hundredths, 6000)
    seconds = f"{rest // 100:02d}.{rest % 100:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds}" if minutes >= 60 else f"{minutes}:{seconds}"


def _draw_label(draw: ImageDraw.ImageDraw, font: Font, corner: tuple[int, int], text: str) -> None:
    left, top, right, bottom = draw.textbbox(corner, text, font=font, anchor="ls")
    lift = bottom - corner[1] + 3
    draw.rounded_rectangle((left - 1, top - 4 - lift, right + 6, bottom + 3 - lift), radius=3, fill=BACKGROUND)
    draw.text((corner[0] + 2, corner[1] - lift), text, fill=LABEL_COLOR, font=font, anchor="ls")
