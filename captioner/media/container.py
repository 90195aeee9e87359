"""A video container opened with PyAV: its picture stream and the index of that stream's packets. Decodes nothing.

Never call av.logging.set_level() in a program that uses this: the callback which it installs needs the GIL, and closing
a damaged stream may then wait for ever.
"""

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer
from av.format import Flags
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from captioner.errors import MediaError

# Twice 8K. More is a damaged header, or fills the memory of a small machine: a decoder may keep 17 frames, and several
# clips are decoded at once.
MAX_PIXELS = 70_000_000

# Longer than any film. More is a recording whose frames would be minutes apart, or a file with damaged time stamps.
MAX_DURATION_S = 6 * 3600.0

# 6 hours at 90 frames a second; their times take some 80 MB.
MAX_FRAMES = 2_000_000

# A seek takes time with the square of the packets that an edit list leaves out: 0.1 s for these, 2 s for 100,000.
MAX_LEFT_OUT = 20_000

# A film with all its languages has some 50. Each costs a decoder, opened to find out what it is.
MAX_STREAMS = 100

# For opening, and for one packet: more is a reader that found nothing in gigabytes of noise, or a disk that is gone.
READ_TIMEOUT_S = 20.0

# The demuxers of the supported extensions, whichever of them the file has: those that read one file and nothing else.
# Playlists (HLS, DASH), lists (concat), image sequences, subtitles and streams described by a text (SDP) are none.
DEMUXERS = "mov,mp4,avi,matroska,webm,flv,asf,mpeg,mpegts,mpegvideo"

TOO_MANY_FRAMES = f"has over {MAX_FRAMES:,} frames, the limit; cut it into shorter clips"
NOT_A_VIDEO = "not a readable video (damaged, cut off, or another kind of file)"

Clock = Literal["pts", "dts", "count"]  # what tells a frame's time


@dataclass(frozen=True)
class PacketIndex:
    """What the packets of a stream say. Times are in ticks of the stream's time base.

    Hidden frames, and those that an edit list leaves out, are in none of the lists.
    """

    times: list[int]  # of the frames, ascending, each once
    keyframes: list[int]  # ascending
    exact: bool  # each packet has the time of its own frame, so that one may seek and count on times
    first_packet: tuple[int | None, int | None, int]  # its identity()
    first_duration: int  # of the first packet, 0 if not stated


def open_container(path: Path) -> tuple[InputContainer, VideoStream]:
    """The container and its picture stream, one codec thread, all other streams off. The caller closes the container.

    One thread, since frame threads give other pixels on some files; clips are decoded in parallel instead.
    Raises MediaError.
    """
    container = _open(path)
    try:
        stream = _choose_stream(container)
        _check_size(stream)
        if len(stream.index_entries) > MAX_FRAMES:
            raise MediaError(TOO_MANY_FRAMES)
    except MediaError:
        container.close()
        raise
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # frames may grow later than in the header
    stream.codec_context.thread_type = "SLICE"
    stream.codec_context.thread_count = 1
    return container, stream


def _open(path: Path) -> InputContainer:
    """A tag that is not UTF-8 must not fail, and no file may make FFmpeg read another one, or from the network."""
    name = str(path.absolute())  # an absolute name is never taken for a protocol such as "concat:"
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": DEMUXERS,
        "enable_drefs": "0",  # a MOV may say that its frames are in another file
        "max_streams": str(MAX_STREAMS),
        "max_pixels": str(MAX_PIXELS),  # for the decoders that look at the first frames while it is opened
    }
    try:
        return av.open(name, options=options, metadata_errors="replace", timeout=READ_TIMEOUT_S)
    except av.error.ExitError:
        raise MediaError(f"takes over {READ_TIMEOUT_S:.0f} s to open; it may be damaged, or its disk slow") from None
    except MemoryError:  # FFmpeg's answer to too many streams as well
        raise MediaError(f"has over {MAX_STREAMS} streams, or needs too much memory; convert it first") from None
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and error.errno != errno.EPERM:  # which some demuxers say of damage
            raise MediaError(f"cannot be opened: {error.strerror}") from None
        raise MediaError(NOT_A_VIDEO) from None


def _choose_stream(container: InputContainer) -> VideoStream:
    """The default video stream, else the first; a cover picture is none. Raises MediaError."""
    streams = [
        stream
        for stream in container.streams.video
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic
    ]
    if streams:
        return max(streams, key=lambda stream: bool(stream.disposition & Disposition.default))  # the first on a tie
    if container.streams.video and not container.streams.audio:
        raise MediaError("its video codec is not supported; convert it, for example to H.264")
    raise MediaError("no video stream (audio only)" if container.streams.audio else "no video stream")


def _check_size(stream: VideoStream) -> None:
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MAX_PIXELS:
        limit = MAX_PIXELS // 1_000_000
        raise MediaError(
            f"frames of {width}x{height} are over the limit of {limit} megapixels; make them smaller first"
        )


def may_seek(stream: VideoStream) -> bool:
    """Whether a seek takes no senseless time."""
    entries = stream.index_entries
    return len(entries) <= MAX_LEFT_OUT or sum(entry.is_discard for entry in entries) <= MAX_LEFT_OUT


def packets_to_end(container: InputContainer, stream: VideoStream) -> Iterator[Packet | None]:
    """The packets from here on that hold data, then None to flush the decoder. One that breaks off just ends there.

    PyAV raises IndexError at the end of a file in which a stream showed up late; by then all packets were given.
    """
    with contextlib.suppress(av.error.FFmpegError, IndexError):
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    yield None


def identity(packet: Packet) -> tuple[int | None, int | None, int]:
    """What tells a packet from others of its stream."""
    return packet.pts, packet.dts, packet.size


def clock_of(container: InputContainer) -> Clock:
    """Presentation times, but for AVI, where those run backwards if there are B-frames, and for bare streams."""
    if container.format.name == "avi":
        return "dts"
    return "count" if container.format.flags & Flags.no_timestamps.value else "pts"


def read_index(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Read all packets, about 10 ms for each 10 MB. Raises MediaError if there is none, or too many."""
    times: list[int] = []
    keyframes: list[int] = []
    num_packets = 0
    first: Packet | None = None
    codec = stream.codec_context.codec.canonical_name
    clock = clock_of(container)
    may_hide = codec in ("vp8", "vp9")
    for packet in packets_to_end(container, stream):
        if packet is None:
            break
        first = first or packet
        if packet.is_discard or (may_hide and _is_hidden(packet, codec)):
            continue
        tick = packet.dts if clock == "dts" else packet.pts
        num_packets += 1
        if num_packets > MAX_FRAMES:
            raise MediaError(TOO_MANY_FRAMES)
        if tick is not None:
            times.append(tick)
            if packet.is_keyframe:
                keyframes.append(tick)
    if first is None:
        raise MediaError("no video packets: it is cut off after its header; get a whole copy")
    distinct = sorted(set(times))
    exact = clock == "pts" and len(distinct) == num_packets and bool(keyframes)
    return PacketIndex(distinct, sorted(keyframes), exact, identity(first), first.duration or 0)


def _is_hidden(packet: Packet, codec: str) -> bool:
    """Whether a VP8 or VP9 packet holds a frame that is only for others to refer to (RFC 6386 9.1; VP9 spec 6.2)."""
    data = memoryview(packet)
    first, last = data[0], data[-1]
    if codec == "vp8":
        return not first & 0x10
    is_superframe = last & 0xE0 == 0xC0  # several frames in one packet, the last of them shown
    is_profile_3 = first & 0x30 == 0x30  # has one more bit in front of the flags
    shows_existing, shows = (0x04, 0x01) if is_profile_3 else (0x08, 0x02)
    return not is_superframe and not first & shows_existing and not first & shows
