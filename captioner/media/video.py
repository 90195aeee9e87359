"""One video file: the times of all its frames, its first frame, and its packets from any keyframe on.

Frame counts, rates and durations that a container states are not believed: the packets tell.
"""

import bisect
import contextlib
import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame

from captioner.errors import MediaError
from captioner.media.container import (
    MAX_DURATION_S,
    PacketIndex,
    clock_of,
    identity,
    may_seek,
    open_container,
    packets_to_end,
    read_index,
)

# Frames per second of a stream that tells neither times nor a rate.
DEFAULT_RATE = 25


class VideoFile:
    """An open video. Close it, or use it in a `with`. For one thread at a time; several files may be open in several.

    `times` are those of its frames in display order, in ticks of `time_base` seconds: what a player would show.
    Opening reads every packet once and decodes one frame, `first_frame`; it raises MediaError when the file is no
    video, has no frame that can be decoded, or is over a limit. `opening` holds the frames and the remaining packets
    of that first decode, for a reader that goes on from there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.num_errors = 0  # packets that the decoder refused so far
        self._num_read = 0  # frames that frames() gave, up to the time
        self._read_until = -math.inf
        self._open()
        try:
            self._may_seek = may_seek(self._stream)
            index = read_index(self._container, self._stream)
            self.time_base = self._stream.time_base
            self.times = index.times
            self.keyframes = index.keyframes
            self.exact = index.exact and self._may_seek  # times and keyframes can be relied on for seeking
            self._first_duration = index.first_duration
            if not index.exact and self._clock != "dts":
                self.times = [tick for tick, _ in self.frames()]
            self._decode_first(index)
            if self.duration_s > MAX_DURATION_S:
                hours, limit = self.duration_s / 3600, MAX_DURATION_S / 3600
                cause = "cut it into shorter clips, or mend its time stamps"
                raise MediaError(f"lasts {hours:.1f} hours, over the limit of {limit:.0f}; {cause}")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    def _open(self) -> None:
        self._container, self._stream = open_container(self._path)
        self._clock = clock_of(self._container)

    # What it is

    @property
    def codec(self) -> str:
        return self._stream.codec_context.codec.canonical_name

    @property
    def rotation(self) -> int:
        """Degrees clockwise by which a player turns the picture: 0, 90, 180 or 270."""
        counterclockwise = self.first_frame.rotation
        is_sane = abs(counterclockwise) <= 360 and counterclockwise % 90 == 0  # a broken matrix gives -2**31
        return -counterclockwise % 360 if is_sane else 0

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) as displayed: pixels made square, then turned."""
        width, height = self.first_frame.width, self.first_frame.height
        aspect = float(self._stream.sample_aspect_ratio or 1)
        if 0.1 < aspect < 10:
            width = max(1, round(width * aspect))
        return (height, width) if self.rotation in (90, 270) else (width, height)

    @property
    def duration_s(self) -> float:
        """From the first frame's time to the end of the last, which is taken to stay as long as the median one."""
        last_step = float(np.median(np.diff(self.times))) if len(self.times) > 1 else self._first_duration
        return float((self.times[-1] - self.times[0] + last_step) * self.time_base)

    @property
    def fps(self) -> float:
        """Mean rate from the first to the last frame; 0 if there is only one."""
        span_s = float((self.times[-1] - self.times[0]) * self.time_base)
        return (len(self.times) - 1) / span_s if span_s else 0.0

    @property
    def warning(self) -> str:
        """One line on the damage met so far, or nothing."""
        faults = []
        skipped = self.num_errors
        if self._clock == "pts":  # some damage is no error to the decoder, but gives no frame
            skipped = max(skipped, bisect.bisect_right(self.times, self._read_until) - self._num_read)
        if skipped:
            faults.append(f"{skipped} damaged packet{'s' if skipped > 1 else ''} skipped")
        if self._claimed_s > 1.1 * self.duration_s + 0.5:
            faults.append(f"ends after {self.duration_s:.1f} s of {self._claimed_s:.1f} s: it may be cut off")
        return "; ".join(faults)

    @property
    def _claimed_s(self) -> float:
        """The duration that the container states, 0 if none. Some count it from time 0, not from the first frame."""
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        start_s = max(0.0, float(self.times[0] * self.time_base))
        return max(0.0, (self._container.duration or 0) / av.time_base - start_s)

    # Its packets and frames

    def seek(self, tick: int) -> Iterator[Packet | None]:
        """Packets from where a seek back to `tick` lands, which is for the caller to check; the last one is None.

        Raises av.error.FFmpegError.
        """
        self._container.seek(tick, stream=self._stream, backward=True)
        return packets_to_end(self._container, self._stream)

    def decode(self, packet: Packet | None, skip_unreferenced: bool = False) -> list[VideoFrame]:
        """The frames that come out when this packet goes in; None flushes the decoder.

        skip_unreferenced: leave its frame out if no other frame needs it; the others stay the same bit for bit.
        Raises av.error.FFmpegError.
        """
        context = self._stream.codec_context
        context.skip_frame = "NONREF" if skip_unreferenced else "DEFAULT"
        return context.decode(packet)

    def frames(self) -> Iterator[tuple[int, VideoFrame]]:
        """(time in ticks, frame) of every frame in display order, from a new start, past all damage."""
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
        """In ticks; one after the `last` frame's if it has none of its own or runs backwards."""
        if self._clock == "count":
            step = 1 / ((self._stream.average_rate or DEFAULT_RATE) * self._stream.time_base)
            return 0 if last is None else last + round(step)
        tick = frame.dts if self._clock == "dts" else frame.pts
        if last is None:
            return tick or 0
        return tick if tick is not None and tick > last else last + 1

    def _try_decode(self, packet: Packet | None) -> list[VideoFrame]:
        try:
            return self._stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            self.num_errors += 1
            return []

    # Opening

    def _decode_first(self, index: PacketIndex) -> None:
        """Decode from the start up to the first frame. Earlier times belong to frames that cannot be decoded."""
        packets = self._restart(index)
        for packet in packets:
            frames = self._try_decode(packet)
            if frames:
                break
        else:
            plural = "" if self.num_errors == 1 else "s"
            errors = f" ({self.num_errors} decoder error{plural})" if self.num_errors else ""
            raise MediaError(f"no frame could be decoded{errors}")
        self.first_frame = frames[0]
        self.opening = frames, packets
        self.exact = self.exact and not self.num_errors
        first = self._time(self.first_frame, None)
        kept = [tick for tick in self.times if tick >= first] or [first]
        if self._clock == "dts":  # shifted by the decoder's delay: the last ones are counted on when it is flushed
            kept += [kept[-1] + number + 1 for number in range(len(self.times) - len(kept))]
        self.times = kept

    def _restart(self, index: PacketIndex) -> Iterator[Packet | None]:
        """All packets again. Where a seek really lands on the first one, it saves the 10 ms of opening anew."""
        start = [tick for tick in index.first_packet[:2] if tick is not None]
        if self._may_seek:
            with contextlib.suppress(av.error.FFmpegError):
                packets = self.seek(min(start, default=0))
                packet = next(packets)
                if packet is not None and identity(packet) == index.first_packet:
                    return itertools.chain([packet], packets)
        self.close()
        self._open()
        return packets_to_end(self._container, self._stream)
