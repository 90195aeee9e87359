"""Sample clips and images of the toy world as real files: mp4, webm and png."""

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
        suffix = "webm" if i % 3 == 2 else "mp4"
        path = folder / f"clip {i + 1:02d}.{suffix}"
        write_clip(path, scene, duration_s=float(rng.uniform(2, 4)))
        samples.append(Sample(path, scene))
    for i in range(num_stills):
        scene = random_scene(rng, still=True)
        path = folder / f"still {i + 1:02d}.png"
        Image.fromarray(draw(scene, 0.5, SIDE)).save(path)
        samples.append(Sample(path, scene))
    return samples


def write_clip(path: Path, scene: Scene, duration_s: float) -> None:
    """Encode a scene as a clip, with H.264 or VP9 according to the suffix."""
    codec, options = CODECS[path.suffix[1:]]
    num_frames = round(duration_s * FPS)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=FPS, options=options)
        assert isinstance(stream, VideoStream)
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        for i in range(num_frames):
            picture = draw(scene, i / (num_frames - 1), SIDE)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
