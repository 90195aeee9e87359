"""One video file: its frames, their pixels, and their times, which packets state better than the container does."""

import bisect
import contextlib
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from captioner.errors import MediaError
from captioner.formatting import plural
from captioner.media.color_tags import color_warning, stated_tags
from captioner.media.container import (
    MAX_DURATION_S,
    PacketIndex,
    can_seek,
    clock_of,
    decoder_of,
    identity,
    open_container,
    packets_to_end,
    read_index,
    time_base_of,
)
from captioner.media.geometry import Geometry
from captioner.values import MediaInfo

DEFAULT_RATE = 25  # frames per second of a stream that states neither times nor a rate


class VideoFile:
    """An open video, for one thread at a time. Close it, or use it in a `with`.

    `times` are those of the frames that a player shows, in display order, in ticks of `time_base` seconds. Opening
    reads every packet and decodes `first_frame`; `opening` holds the frames of that decode and the packets that follow.
    """

    def __init__(self, path: Path) -> None:
        """Open the file. Raises MediaError if it is not a video, has no frame to decode, or exceeds a limit."""
        self._path = path
        self.num_errors = 0  # packets that the decoder refused so far
        self._num_read, self._read_until = 0, -math.inf  # frames that frames() yielded, and the time of the last
        self._open()
        try:
            index = read_index(self._container, self._stream)
            self._has_jumps = index.has_jumps
            self._can_seek = can_seek(self._stream) and not index.has_jumps  # seeks use the times in the file
            self.time_base = time_base_of(self._stream)
            self.times, self.keyframes = index.times, index.keyframes
            self.exact = index.exact and (self._can_seek or index.has_jumps)  # times and keyframes are reliable
            self._first_duration = index.first_duration
            if not index.exact and self._clock != "dts":
                self.times = [tick for tick, _ in self.frames()]
            self._decode_first(index)
            self.geometry = Geometry.of(self._container, self._stream, self.first_frame)
            if self.duration_s > MAX_DURATION_S:
                too_long = f"lasts {self.duration_s / 3600:.1f} hours, over the limit of {MAX_DURATION_S / 3600:.0f}"
                raise MediaError(f"{too_long}; cut it into shorter clips, or repair its timestamps")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    def _open(self) -> None:
        self._container, self._stream = open_container(self._path)
        self._decoder = decoder_of(self._stream)
        self.stated_tags = stated_tags(self._stream)
        self._clock = clock_of(self._container)

    @property
    def info(self) -> MediaInfo:
        """The facts of the file."""
        width, height = self.size
        turn = self.geometry.orientation.rotation
        return MediaInfo(width, height, self.duration_s, self.fps, len(self.times), turn, self.codec, self.has_sound)

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec, such as "h264"."""
        return self._stream.codec_context.codec.canonical_name

    @property
    def has_sound(self) -> bool:
        """True if the file has an audio stream, which may be silent."""
        return bool(self._container.streams.audio)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels as displayed."""
        return self.geometry.size(self.first_frame)

    @property
    def duration_s(self) -> float:
        """The seconds from the first frame to the end of the last, which is given the median duration."""
        last_step = float(np.median(np.diff(self.times))) if len(self.times) > 1 else self._first_duration
        return float((self.times[-1] - self.times[0] + last_step) * self.time_base)

    @property
    def fps(self) -> float:
        """The mean frame rate from the first to the last frame; 0 if there is only one."""
        span_s = float((self.times[-1] - self.times[0]) * self.time_base)
        return (len(self.times) - 1) / span_s if span_s else 0.0

    @property
    def warning(self) -> str:
        """One line about the damage found so far, or "" if there is none."""
        color_fault = color_warning(self.first_frame, self._stream.codec_context.codec_tag)
        faults, skipped = [color_fault] if color_fault else [], self.num_errors
        if self._clock == "pts":  # the decoder drops some damaged frames without an error
            skipped = max(skipped, bisect.bisect_right(self.times, self._read_until) - self._num_read)
        if skipped:
            faults.append(f"{plural(skipped, 'damaged packet')} skipped")
        if self._claimed_s > 1.1 * self.duration_s + 0.5:
            faults.append(f"ends after {self.duration_s:.1f} s of {self._claimed_s:.1f} s: it may be cut off")
        return "; ".join(faults)

    @property
    def _claimed_s(self) -> float:
        if self._has_jumps:
            return 0.0
        if self._stream.duration:
            return float(self._stream.duration * self.time_base)
        start_s = max(0.0, float(self.times[0] * self.time_base))  # some containers count from 0, not the first frame
        return max(0.0, (self._container.duration or 0) / av.time_base - start_s)

    def seek(self, tick: int) -> Iterator[Packet | None]:
        """Return the packets from `tick`, or wherever the seek lands; the last is None. Raises av.error.FFmpegError.

        Where times jump, read on to the packet of that time instead; after the end of the file there is none.
        """
        if self._has_jumps:
            self._decoder.flush_buffers()
            return itertools.dropwhile(lambda packet: packet is not None and packet.pts != tick, self._packets)
        self._container.seek(tick, stream=self._stream, backward=True)
        self._decoder.flush_buffers()
        return packets_to_end(self._container, self._stream)

    def decode(self, packet: Packet | None, skip_unreferenced: bool = False) -> list[VideoFrame]:
        """Return the decoder's next frames; None flushes it. skip_unreferenced: skip one that no other frame needs."""
        self._decoder.skip_frame = "NONREF" if skip_unreferenced else "DEFAULT"
        return self._decoder.decode(packet)

    def frames(self) -> Iterator[tuple[int, VideoFrame]]:
        """Reopen the file and yield (time in ticks, frame) in display order, skipping damage."""
        self.close()
        self._open()
        self.num_errors = self._num_read = 0
        self._read_until = -math.inf
        last: int | None = None
        for packet in packets_to_end(self._container, self._stream):
            for frame in self._try_decode(packet):
                last = self._time(frame, last)
                self._num_read += 1
                self._read_until = last
                yield last, frame
        self._read_until = math.inf

    def _time(self, frame: VideoFrame, last: int | None) -> int:
        """Return the frame's time in ticks: one after `last` if it has no time or runs backwards."""
        if self._clock == "count":
            step = 1 / ((self._stream.average_rate or DEFAULT_RATE) * self.time_base)
            return 0 if last is None else last + round(step)
        tick = frame.dts if self._clock == "dts" else frame.pts
        if last is None:
            return tick or 0
        return tick if tick is not None and tick > last else last + 1

    def conversion_error(self, error: Exception) -> MediaError:
        """Return the error to raise when FFmpeg cannot convert a frame of this video to RGB."""
        cause = getattr(error, "strerror", None) or error
        return MediaError(f"its {self.first_frame.format.name} frames cannot be converted: {cause}")

    def _try_decode(self, packet: Packet | None) -> list[VideoFrame]:
        try:
            return self._decoder.decode(packet)
        except av.error.FFmpegError:
            self.num_errors += 1
            return []

    def _decode_first(self, index: PacketIndex) -> None:
        """Decode up to the first frame, and drop the times before it: their frames cannot be decoded."""
        packets = self._restart(index)
        for packet in packets:
            frames = self._try_decode(packet)
            if frames:
                break
        else:
            errors = f" ({plural(self.num_errors, 'decoder error')})" if self.num_errors else ""
            raise MediaError(f"no frame could be decoded{errors}")
        self.first_frame = frames[0]
        self.opening = frames, packets
        self.exact = self.exact and not self.num_errors
        first = self._time(self.first_frame, None)
        kept = [tick for tick in self.times if tick >= first] or [first]
        if self._clock == "dts":  # the decoder's delay shifts them: flushed frames get the times that follow
            kept += [kept[-1] + number + 1 for number in range(len(self.times) - len(kept))]
        self.times = kept

    def _restart(self, index: PacketIndex) -> Iterator[Packet | None]:
        """Return all packets again, by a seek if it lands on the first one, which saves reopening (10 ms)."""
        start = [tick for tick in index.first_packet[:2] if tick is not None]
        if self._can_seek:
            with contextlib.suppress(av.error.FFmpegError):
                packets = self.seek(min(start, default=0))
                packet = next(packets)
                if packet is not None and identity(packet) == index.first_packet:
                    return itertools.chain([packet], packets)
        self.close()
        self._open()
        self._packets = packets_to_end(self._container, self._stream)
        return self._packets
