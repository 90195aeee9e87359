"""The check of picture sizes against a limit."""

from captioner.errors import MediaError


def check_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise MediaError if a picture of this size has more pixels than allowed."""
    if width * height > max_pixels:
        raise MediaError(f"its size of {width}x{height} is {over_limit(max_pixels)}")


def over_limit(max_pixels: int) -> str:
    """Return the end of the message for a picture that has too many pixels."""
    return f"over the limit of {max_pixels // 1_000_000} megapixels; make it smaller first"
