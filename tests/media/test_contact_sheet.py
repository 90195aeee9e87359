"""The contact sheet."""

import numpy as np
import pytest

from captioner.media.contact_sheet import GAP, clock_text, contact_sheet
from captioner.values import Frames


def frames(count: int, height: int = 64, width: int = 96) -> Frames:
    pixels = np.full((count, height, width, 3), 128, np.uint8)
    return Frames(pixels, np.arange(count) / 2, np.arange(count), 25.0)


def test_all_frames_are_on_the_sheet_in_rows():
    sheet = contact_sheet(frames(5), columns=2)
    assert sheet.size == (GAP + 2 * (96 + GAP), GAP + 3 * (64 + GAP))
    assert sheet.getpixel((GAP + 48, GAP + 10)) == (128, 128, 128)
    assert sheet.getpixel((GAP + 96 + GAP + 48, GAP + 2 * (64 + GAP) + 10)) != (128, 128, 128)


@pytest.mark.parametrize(("count", "height", "width"), [(1, 64, 96), (8, 192, 320), (32, 192, 320), (32, 320, 192)])
def test_sheet_is_about_as_wide_as_a_screen(count, height, width):
    sheet = contact_sheet(frames(count, height, width))
    assert 0.8 < sheet.width / sheet.height < 3


def test_still_has_no_label():
    sheet = np.asarray(contact_sheet(frames(1)))
    assert (sheet[GAP:-GAP, GAP:-GAP] == 128).all()


@pytest.mark.parametrize(
    ("time_s", "text"), [(0.0, "0:00.00"), (3.25, "0:03.25"), (59.999, "1:00.00"), (3723.5, "1:02:03.50")]
)
def test_time_is_written_as_on_a_player(time_s, text):
    assert clock_text(time_s) == text
