"""How a player shows decoded frames: cropped, with square pixels, turned and mirrored."""

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from PIL import Image

from captioner.media.color_tags import ColorScaler, ColorTags, is_yuv, resolve_tags, side_data_of
from captioner.media.crop import Crop, read_crop

MAX_SLANT = 0.0175  # tangent of 1 degree: as FFmpeg, take a matrix for a quarter turn if it is off by no more


class Orientation(NamedTuple):
    """The steps that set a picture upright: exchange rows and columns, then mirror it."""

    is_transposed: bool = False
    is_mirrored_x: bool = False  # left and right are exchanged
    is_mirrored_y: bool = False  # top and bottom are exchanged

    @property
    def rotation(self) -> int:
        """The degrees clockwise by which a player turns the picture, after mirroring left and right if it does."""
        if self.is_transposed:
            return 90 if self.is_mirrored_x else 270
        return 180 if self.is_mirrored_y else 0

    def apply(self, pixels: np.ndarray) -> np.ndarray:
        """Return a view of pixels (height, width, channels) that is upright."""
        turned = pixels.swapaxes(0, 1) if self.is_transposed else pixels
        return turned[:: -1 if self.is_mirrored_y else 1, :: -1 if self.is_mirrored_x else 1]


# By the degrees clockwise, where only these are known.
QUARTER_TURNS = {
    90: Orientation(True, True, False),
    180: Orientation(False, True, True),
    270: Orientation(True, False, True),
}


@dataclass(frozen=True)
class Geometry:
    """The steps from the frames of a stream to what a player shows, in this order."""

    crop: Crop
    pixel_aspect: float  # width of a pixel divided by its height
    orientation: Orientation

    @classmethod
    def of(cls, container: InputContainer, stream: VideoStream, frame: VideoFrame) -> "Geometry":
        """Return the geometry of a stream; `frame` is one of its frames."""
        aspect = float(stream.sample_aspect_ratio or 1)
        return cls(read_crop(container, stream), aspect if 0.1 < aspect < 10 else 1.0, read_orientation(frame))

    def size(self, frame: VideoFrame) -> tuple[int, int]:
        """Return (width, height) of the frame as displayed."""
        _, _, width, height = self.crop.rectangle(frame.width, frame.height)
        width = max(1, round(width * self.pixel_aspect))
        return (height, width) if self.orientation.is_transposed else (width, height)


def read_orientation(frame: VideoFrame) -> Orientation:
    """Return the orientation that the frame's display matrix states; frame.rotation would lose the mirroring.

    (x, y) is shown at (a x + c y, b x + d y). A matrix that is no quarter turn is ignored.
    """
    matrix = side_data_of(frame).get("DISPLAYMATRIX")
    if matrix is None:
        return QUARTER_TURNS.get(-frame.rotation % 360, Orientation())
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    if min(abs(a), abs(d)) > 0 and max(abs(b), abs(c)) <= MAX_SLANT * min(abs(a), abs(d)):
        return Orientation(False, a < 0, d < 0)
    if min(abs(b), abs(c)) > 0 and max(abs(a), abs(d)) <= MAX_SLANT * min(abs(b), abs(c)):
        return Orientation(True, c < 0, b < 0)
    return Orientation()


class FrameScaler:
    """Converts decoded frames of one clip to uint8 arrays (height, width, 3), upright RGB, over white."""

    def __init__(
        self, geometry: Geometry, width: int, height: int, interpolation: Interpolation, stated: ColorTags
    ) -> None:
        """width, height: of the arrays, in pixels. stated: the color tags of the container."""
        self._geometry = geometry
        stored = (height, width) if geometry.orientation.is_transposed else (width, height)
        self._scale = ColorScaler(*stored, interpolation, stated)

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Return the pixels of one frame. Raises av.error.FFmpegError or ValueError if FFmpeg cannot convert it."""
        return self._geometry.orientation.apply(self._scale(_over_white(_cut(frame, self._geometry.crop))))


def _cut(frame: VideoFrame, crop: Crop) -> VideoFrame:
    left, top, width, height = crop.rectangle(frame.width, frame.height)
    if (width, height) == (frame.width, frame.height):
        return frame
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1))
    graph.link_nodes(source, graph.add("crop", f"{width}:{height}:{left}:{top}:exact=1"), graph.add("buffersink"))
    graph.configure()
    graph.vpush(frame)
    return graph.vpull()


def _over_white(frame: VideoFrame) -> VideoFrame:
    """Return the frame without transparency. At full size: scaling would mix the colors of transparent pixels in."""
    if not (frame.format.has_palette or any(component.is_alpha for component in frame.format.components)):
        return frame
    matrix = resolve_tags(frame, ColorTags()).matrix if is_yuv(frame) else None
    pixels = frame.reformat(format="rgba", src_colorspace=matrix, threads=1).to_ndarray()
    if pixels[..., 3].min() == 255:
        return frame
    straight = Image.fromarray(pixels)
    white = Image.new("RGBA", straight.size, "white")
    opaque = VideoFrame.from_image(Image.alpha_composite(white, straight).convert("RGB"))
    opaque.color_primaries, opaque.color_trc = frame.color_primaries, frame.color_trc
    return opaque
