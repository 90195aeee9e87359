"""The color tags of video frames: which ones a player goes by, and the frames' pixels by them."""

from collections.abc import Mapping
from typing import NamedTuple, cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from captioner.media.color import BT709, BT2020, DISPLAY_P3, HLG, PQ, UNSPECIFIED, tagged_conversion

BT601, FULL_RANGE = 5, 2
MATRICES = (BT709, 4, BT601, 6, 7, BT2020)  # those that FFmpeg's scaler knows
OTHER_MATRICES = {8: "YCgCo", 10: "BT.2020 with constant luminance", 14: "ICtCp"}
MATRIX_OF_PRIMARIES = {BT709: BT709, 4: BT601, 5: BT601, 6: BT601, 7: BT601, BT2020: BT2020, DISPLAY_P3: BT709}

DOLBY_VISION_TAGS = ("dvh1", "dvhe", "dva1", "dvav", "dav1")  # of MP4 and MOV

HD_WIDTH, HD_LINES = 1280, 720  # players take untagged video of this width or height for BT.709 (mpv, Chromium)


def side_data_of(frame: VideoFrame) -> Mapping[str, bytes]:
    """Return the side data of a frame. PyAV gives none at all if it does not know the kind of one, such as EXIF."""
    try:
        return cast(Mapping[str, bytes], frame.side_data)
    except ValueError:
        return {}


class ColorTags(NamedTuple):
    """The color tags of a frame or a stream."""

    matrix: int = UNSPECIFIED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    is_full_range: bool = False

    @property
    def is_stated(self) -> bool:
        """True if one of the three is specified."""
        return self[:3] != (UNSPECIFIED, UNSPECIFIED, UNSPECIFIED)


def stated_tags(stream: VideoStream) -> ColorTags:
    """Return the tags of the container. Once a frame is decoded they are lost, as some decoders replace them."""
    context = stream.codec_context
    return ColorTags(context.colorspace, context.color_primaries, context.color_trc, context.color_range == FULL_RANGE)


def is_yuv(frame: VideoFrame) -> bool:
    """Return True if the frame's pixels are luma and chroma, to which a matrix applies."""
    kind = frame.format
    return len(kind.components) >= 3 and not kind.is_rgb and not kind.has_palette and not kind.name.startswith("xyz")


def white_level(frame: VideoFrame, is_full_range: bool) -> int:
    """Return the level of white among LEVELS, as FFmpeg's scaler gives it: it shifts bits, and never fills them up."""
    bits = frame.format.components[0].bits if is_full_range or not is_yuv(frame) else 8
    return ((1 << bits) - 1 << 12) >> bits


def resolve_tags(frame: VideoFrame, stated: ColorTags) -> ColorTags:
    """Return the tags by which to show a frame: its own, else those of its container, else what players assume."""
    own = ColorTags(frame.colorspace, frame.color_primaries, frame.color_trc, _is_full_range(frame))
    matrix, primaries, transfer = (
        known if known != UNSPECIFIED else other for known, other in zip(own[:3], stated[:3], strict=True)
    )
    if primaries == UNSPECIFIED and (matrix in (BT2020, 10, 14) or transfer in (PQ, HLG)):
        primaries = BT2020
    if matrix not in MATRICES:
        is_hd = frame.width >= HD_WIDTH or frame.height >= HD_LINES
        matrix = MATRIX_OF_PRIMARIES.get(primaries, BT709 if is_hd else BT601)
    is_full_range = own.is_full_range if own.is_stated or not stated.is_stated else stated.is_full_range
    return ColorTags(matrix, primaries, transfer, is_full_range)


def _is_full_range(frame: VideoFrame) -> bool:
    return frame.color_range == FULL_RANGE or frame.format.name.startswith("yuvj")


def color_warning(frame: VideoFrame, codec_tag: str) -> str:
    """Return one line if the colors of this frame are coded in a way that is not supported, else ""."""
    name = OTHER_MATRICES.get(frame.colorspace, "")
    is_dolby_vision = codec_tag in DOLBY_VISION_TAGS or "DOVI_METADATA" in side_data_of(frame)
    if is_dolby_vision and frame.color_trc == UNSPECIFIED:  # others state the colors of a base layer for every player
        name = "Dolby Vision without a compatible base layer"
    return f"its colors may look wrong, as {name} is not supported; convert it to HDR10 or SDR first" if name else ""


class ColorScaler:
    """Scales the frames of one stream to uint8 RGB in the colors of a screen."""

    def __init__(
        self, width: int, height: int, interpolation: Interpolation, stated: ColorTags, is_still: bool = False
    ) -> None:
        """width, height: of the results, in pixels. stated: the tags of the container."""
        self._size, self._interpolation, self._stated = (width, height), interpolation, stated
        self._is_still = is_still
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Return (height, width, 3). Raises av.error.FFmpegError or ValueError if FFmpeg cannot convert the frame."""
        tags = resolve_tags(frame, self._stated)
        white = white_level(frame, tags.is_full_range)
        convert = tagged_conversion(tags.primaries, tags.transfer, white, self._is_still)
        is_retagged = is_yuv(frame) and tags.matrix != frame.colorspace
        small = self._reformatter.reformat(
            frame,
            *self._size,
            "gbrp12le" if convert else "rgb24",  # planes are the faster of the formats with more than 8 bits
            src_colorspace=tags.matrix if is_retagged else None,
            src_color_range=FULL_RANGE if tags.is_full_range else None,
            interpolation=self._interpolation,
            threads=1,
        )
        return convert(small.to_ndarray()) if convert else small.to_ndarray()
