"""Sample clips and images of the toy world as real files: mp4, webm and png."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

from captioner.demo.world import Scene, draw, random_scene

SIDE = 256  # pixels; the demo model sees half of them
FPS = 24
CODECS = {"mp4": ("libx264", {"crf": "16", "preset": "veryfast"}), "webm": ("libvpx-vp9", {"crf": "18", "b": "0"})}


@dataclass(frozen=True)
class Sample:
    """A file and the scene that it shows."""

    path: Path
    scene: Scene


def write_samples(folder: Path, num_clips: int = 9, num_stills: int = 3, seed: int = 7) -> list[Sample]:
    """Render clips (every third a webm) and images into `folder`, and create it. The same seed gives the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(num_clips):
        scene = random_scene(rng)
        path = folder / f"clip {i + 1:02d}.{'webm' if i % 3 == 2 else 'mp4'}"
        num_frames = round(float(rng.uniform(2, 4)) * FPS)
        pictures = (draw(scene, number / (num_frames - 1), SIDE) for number in range(num_frames))
        frames = (av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in pictures)
        encode(path, (SIDE, SIDE), FPS, frames, *CODECS[path.suffix[1:]])
        samples.append(Sample(path, scene))
    for i in range(num_stills):
        scene = random_scene(rng, still=True)
        path = folder / f"still {i + 1:02d}.png"
        Image.fromarray(draw(scene, 0.5, SIDE)).save(path)
        samples.append(Sample(path, scene))
    return samples


def encode(
    path: Path, size: tuple[int, int], fps: int, frames: Iterable[av.VideoFrame], codec: str, options: dict[str, str]
) -> None:
    """Write a clip of this size (width, height) and number of frames a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
