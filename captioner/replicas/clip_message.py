"""The message in which the frames of a clip travel to a model server, in one of three forms."""

import base64
import io
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
from PIL import Image

from captioner.values import Frames, GenerationOptions

# frames: our frames as they are, with their times beside them (vLLM with --trust-request-mm-kwargs)
# video: an MP4 of exactly these frames at their times; the server reads frames and times from it
# images: every frame an image, its time before it as text
Form = Literal["frames", "video", "images"]
FORMS: tuple[Form, ...] = ("frames", "video", "images")

FORM_TEXT: dict[Form, str] = {
    "frames": "our frames with their times",
    "video": "a video of our frames, whose times the server reads; more than 2 frames a second travel as images",
    "images": "our frames as images, each after its time as text",
}
MEDIA_OPTIONS = "media_io_kwargs"  # vLLM's field for the times of frames
JPEG_QUALITY = 95
VIDEO_OPTIONS = {"crf": "8", "preset": "veryfast", "bf": "0"}
SERVERS_SPACING_S = 0.5  # servers take two frames a second from a video, and would drop denser ones
TIME_BASE = Fraction(1, 90_000)  # s


@dataclass(frozen=True, eq=False)
class ClipMessage:
    """A request's content and extra fields, and what is needed to check how the server read it."""

    prompt: str
    form: Form
    shape: tuple[int, int, int]  # frames, height, width
    content: list[dict[str, Any]]
    extra: dict[str, Any] = field(default_factory=dict)  # top-level fields beside those of the protocol


class MessageWriter:
    """Turns frames into a message. `form` is set once the server is known. Safe to use from several threads."""

    def __init__(self, form: Form = "images") -> None:
        self.form = form

    def prepare(self, request_id: int, frames: Frames, prompt: str, options: GenerationOptions) -> ClipMessage:
        """Return the message of a clip, or of a still, which is an image in every form."""
        return write_message(frames, prompt, self.form)


def write_message(frames: Frames, prompt: str, form: Form) -> ClipMessage:
    """Return the message with these frames and the prompt after them."""
    text, shape = {"type": "text", "text": prompt}, frames.pixels.shape[:3]
    if shape[0] == 1:
        return ClipMessage(prompt, "images", shape, [_image(frames.pixels[0]), text])
    if form == "video" and frames.times_s[-1] - frames.times_s[0] < SERVERS_SPACING_S * (shape[0] - 1):
        form = "images"
    if form == "images":
        content: list[dict[str, Any]] = []
        for picture, time_s in zip(frames.pixels, frames.times_s, strict=True):
            content += [{"type": "text", "text": f"<{time_s:.1f} seconds>"}, _image(picture)]
        return ClipMessage(prompt, form, shape, [*content, text])
    if form == "video":
        return ClipMessage(prompt, form, shape, [_video("video/mp4", _base64(_mp4(frames))), text])
    pictures = ",".join(_base64(_jpeg(picture)) for picture in frames.pixels)
    return ClipMessage(
        prompt, form, shape, [_video("video/jpeg", pictures), text], {MEDIA_OPTIONS: {"video": _times(frames)}}
    )


def _times(frames: Frames) -> dict[str, Any]:
    """Return the times of frames as vLLM takes them. Without num_frames it drops those after the 32nd."""
    fps, ticks = frames.clock
    total = max(ticks[-1] + 1, len(ticks))
    times = {"fps": fps, "frames_indices": ticks, "total_num_frames": total, "duration": total / fps}
    return {"num_frames": -1, "do_sample_frames": False, **times}


def _image(picture: np.ndarray) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_base64(_jpeg(picture))}"}}


def _video(content_type: str, data: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": f"data:{content_type};base64,{data}"}}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _jpeg(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=JPEG_QUALITY, subsampling=0)
    return file.getvalue()


def _mp4(frames: Frames) -> bytes:
    file = io.BytesIO()
    height, width = frames.pixels.shape[1:3]
    with av.open(file, "w", format="mp4") as video:
        stream = video.add_stream("libx264", rate=30, options=VIDEO_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = stream.codec_context.time_base = TIME_BASE
        last, packets = -1, []
        for picture, time_s in zip(frames.pixels, frames.times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            last = max(round(float(time_s) / TIME_BASE), last + 1)  # the last frame of a clip may be there twice
            frame.pts, frame.time_base = last, TIME_BASE
            packets += stream.encode(frame)
        packets += stream.encode()
        for packet in packets:
            if packet.pts == last:  # with it the mean rate is right, from which servers compute the times
                packet.duration = last // (len(packets) - 1)
        video.mux(packets)
    return file.getvalue()
