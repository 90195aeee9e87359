"""The limit of pixels, above which a picture or video is refused."""

from captioner.errors import MediaError

OVER_LIMIT = "over the limit of {} megapixels; make it smaller first"


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise MediaError if a picture or video of this size has more pixels than allowed."""
    if width * height > max_pixels:
        raise MediaError(f"its size of {width}x{height} is {OVER_LIMIT.format(max_pixels // 1_000_000)}")
