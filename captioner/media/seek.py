"""Reads some frames of a video: exactly those that decoding all of it in order would give, with as little work."""

import bisect
import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from captioner.errors import MediaError
from captioner.media.video import VideoFile

MIN_FRAMES_TO_SEEK = 12  # a seek costs as much as several frames, and may land one keyframe early
SKIPPING_CODECS = ("h264", "hevc")  # their decoders can skip unreferenced frames without changing the others
MAX_SEEKS = 4  # attempts before a seek counts as failed; each starts one keyframe earlier

Convert = Callable[[VideoFrame], np.ndarray]


class _Unexpected(Exception):
    """The stream differs from what its packets state; only decoding all of it in order is safe."""


def read_frames(video: VideoFile, wanted: Sequence[int], convert: Convert) -> dict[int, np.ndarray]:
    """Return {time: pixels} for wanted `video.times`, ascending; once for a file. Raises MediaError if none decodes."""
    if video.exact:
        with contextlib.suppress(_Unexpected, av.error.FFmpegError):
            return _SeekingReader(video, wanted, convert).read()
    return _read_in_order(video, wanted, convert)


def _read_in_order(video: VideoFile, wanted: Sequence[int], convert: Convert) -> dict[int, np.ndarray]:
    """Decode all frames. Where a wanted one is lost, take the frame before it, as a player does."""
    pictures: dict[int, np.ndarray] = {}
    ahead = deque(wanted)
    shown: VideoFrame | None = None
    for tick, frame in video.frames():
        while ahead and ahead[0] < tick:
            pictures[ahead.popleft()] = convert(shown or frame)
        shown = frame
        if ahead and ahead[0] == tick:
            pictures[ahead.popleft()] = convert(frame)
        if not ahead:
            break
    if shown is None:
        raise MediaError(f"no frame could be decoded ({video.num_errors} decoder errors)")
    return pictures | {tick: convert(shown) for tick in ahead}


class _SeekingReader:
    """Goes through the wanted times in order, with a seek where the next keyframe is far ahead.

    Raises _Unexpected or av.error.FFmpegError at the first sign that frames are not where the packets state.
    """

    def __init__(self, video: VideoFile, wanted: Sequence[int], convert: Convert) -> None:
        self._video, self._wanted, self._convert = video, frozenset(wanted), convert
        self._pictures: dict[int, np.ndarray] = {}
        self._position: int | None = None  # time of the last frame decoded since the last seek
        self._landing: int | None = None  # the wanted time after a seek, until a frame is decoded
        self._may_skip = video.codec in SKIPPING_CODECS
        frames, self._packets = video.opening
        for frame in frames:
            self._take(frame)

    def read(self) -> dict[int, np.ndarray]:
        for tick in sorted(self._wanted):
            if tick not in self._pictures:
                self._advance(tick)
        return self._pictures

    def _advance(self, tick: int) -> None:
        number = bisect.bisect_right(self._video.keyframes, tick) - 1
        if number >= 0 and self._is_far(self._video.keyframes[number]):
            self._packets = self._seek(tick, number)
        for packet in self._packets:
            is_unwanted = packet is not None and packet.pts not in self._wanted
            for frame in self._video.decode(packet, self._may_skip and is_unwanted):
                self._take(frame)
            if tick in self._pictures:
                return
            if self._position is not None and self._position > tick:
                break
        raise _Unexpected

    def _is_far(self, keyframe: int) -> bool:
        times, position = self._video.times, self._position
        if position is None or keyframe <= position:
            return False
        return bisect.bisect_left(times, keyframe) - bisect.bisect_left(times, position) > MIN_FRAMES_TO_SEEK

    def _seek(self, tick: int, number: int) -> Iterator[Packet | None]:
        """Return the packets from a keyframe at or before `tick`; `number` is the index of the last such keyframe."""
        # Seeks in MPEG program streams miss keyframes, and those in MOV use decoding times and may land late.
        self._position = None
        earlier = self._video.keyframes[max(0, number - MAX_SEEKS + 1) : number + 1]
        for target in [*reversed(earlier), self._video.times[0]]:
            packets = self._video.seek(target)
            packet = next(packets, None)
            if packet is not None and packet.is_keyframe and packet.pts is not None and packet.pts <= tick:
                self._landing = tick
                return itertools.chain([packet], packets)
        raise _Unexpected

    def _take(self, frame: VideoFrame) -> None:
        tick = frame.pts
        if tick is None or (self._position is not None and tick <= self._position):
            raise _Unexpected
        if self._landing is not None:
            if frame.is_corrupt or tick > self._landing:  # not a real keyframe, or too late
                raise _Unexpected
            self._landing = None
        self._may_skip = self._may_skip and not frame.interlaced_frame  # the second field may refer to the first
        self._position = tick
        if tick in self._wanted and tick not in self._pictures:
            self._pictures[tick] = self._convert(frame)
