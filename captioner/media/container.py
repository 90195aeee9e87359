"""A video container opened with PyAV: its video stream and the index of that stream's packets. Decodes nothing.

Never call av.logging.set_level() in a program that uses this: it installs a callback that needs the GIL, and closing a
damaged stream could then deadlock.
"""

import contextlib
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, cast

import av
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from captioner.errors import MediaError
from captioner.media.limits import check_pixels
from captioner.media.timeline import JumpRepair

# Twice 8K. A larger size comes from a damaged header or fills the memory of a small machine: a decoder may keep 17
# frames, and several clips are decoded at once.
MAX_PIXELS = 70_000_000

MAX_DURATION_S = 6 * 3600.0  # longer than any film; frames would be minutes apart, or the timestamps are damaged
MAX_FRAMES = 2_000_000  # 6 hours at 90 frames per second; their times take about 80 MB

# The time of a seek grows with the square of the packets that an edit list drops: 0.1 s for 20,000, 2 s for 100,000.
MAX_DISCARDED = 20_000

MAX_STREAMS = 100  # a film with all its languages has about 50; FFmpeg opens a decoder for each to identify it
READ_TIMEOUT_S = 20.0  # to open, or for a packet; longer: a demuxer searches gigabytes of noise, or the disk is gone

# The demuxers of the supported extensions; each may open a file with any of those extensions. All of them read one file
# and nothing else, unlike those of playlists (HLS, DASH), lists (concat), image sequences, subtitles and SDP.
DEMUXERS = "mov,mp4,avi,matroska,webm,flv,asf,mpeg,mpegts,mpegvideo,ogg,mxf,dv,nut,yuv4mpegpipe,ivf,rm"

ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
NO_TIMESTAMPS, MAY_JUMP = 0x80, 0x200  # AVFMT_NOTIMESTAMPS and AVFMT_TS_DISCONT of FFmpeg's avformat.h
TOO_MANY_FRAMES = f"has more than {MAX_FRAMES:,} frames, the limit; cut it into shorter clips"
TOO_SLOW = f"takes more than {READ_TIMEOUT_S:.0f} s to open; the file may be damaged, or its disk slow"

Clock = Literal["pts", "dts", "count"]  # where the time of a frame comes from
PacketId = tuple[int | None, int | None, int]  # pts, dts, size


@dataclass(frozen=True)
class PacketIndex:
    """The times of a stream's packets in ticks, without frames that are hidden or that an edit list drops."""

    times: list[int]  # of the frames, ascending, each once
    keyframes: list[int]  # their times, ascending
    exact: bool  # each packet states the time of its own frame, so seeking by time is reliable if nothing jumps
    has_jumps: bool  # the times in the file jump; those here are repaired
    first_packet: PacketId
    first_duration: int  # of the first packet, 0 if not stated


def open_container(path: Path) -> tuple[InputContainer, VideoStream]:
    """Return an open container, for the caller to close, and its video stream; others are off. Raises MediaError."""
    container = _open(path)
    try:
        stream = _choose_stream(container)
        check_pixels(stream.codec_context.width, stream.codec_context.height, MAX_PIXELS)
        if len(stream.index_entries) > MAX_FRAMES:
            raise MediaError(TOO_MANY_FRAMES)
    except MediaError:
        container.close()
        raise
    for other in container.streams:
        if other is not stream:
            other.discard = Discard.all
    return container, stream


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """Return the decoder to use: the stream's own, but for VP8 and VP9 with transparency, which only libvpx reads."""
    decoder = stream.codec_context
    if stream.metadata.get("alpha_mode") == "1" and decoder.codec.canonical_name in ALPHA_DECODERS:
        decoder = cast(VideoCodecContext, CodecContext.create(ALPHA_DECODERS[decoder.codec.canonical_name], "r"))
    decoder.options = {"max_pixels": str(MAX_PIXELS)}  # later frames may be larger than the header says
    # One thread: several change the pixels of some files, and clips are decoded in parallel anyway.
    decoder.thread_type = "SLICE"
    decoder.thread_count = 1
    return decoder


def _open(path: Path) -> InputContainer:
    # These options and the absolute name keep the file from making FFmpeg read another file or an address.
    name = str(path.absolute())  # FFmpeg never takes an absolute name for a protocol such as "concat:"
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": DEMUXERS,
        "enable_drefs": "0",  # a MOV may say that its frames are in another file
        "max_streams": str(MAX_STREAMS),
        "max_pixels": str(MAX_PIXELS),  # for the decoders that read the first frames while the file is opened
    }
    try:
        # metadata_errors: tags that are not UTF-8 are accepted.
        return av.open(name, options=options, metadata_errors="replace", timeout=READ_TIMEOUT_S)
    except av.error.ExitError:
        raise MediaError(TOO_SLOW) from None
    except MemoryError:  # also raised for too many streams
        raise MediaError(f"has more than {MAX_STREAMS} streams, or needs too much memory; convert it first") from None
    except av.error.FFmpegError as error:
        if isinstance(error, OSError) and error.errno != errno.EPERM:  # some demuxers report damage as EPERM
            raise MediaError(f"cannot be opened: {error.strerror}") from None
        raise MediaError("not a readable video (damaged, cut off, or another kind of file)") from None


def _choose_stream(container: InputContainer) -> VideoStream:
    usable = [stream for stream in container.streams.video if stream.codec_context is not None]
    streams = [stream for stream in usable if not stream.disposition & Disposition.attached_pic]  # not a cover picture
    if streams:
        return max(streams, key=lambda stream: bool(stream.disposition & Disposition.default))  # the first on a tie
    if container.streams.video and not container.streams.audio:
        raise MediaError("its video codec is not supported; convert it, for example to H.264")
    raise MediaError("no video stream (audio only)" if container.streams.audio else "no video stream")


def time_base_of(stream: VideoStream) -> Fraction:
    """Return the seconds that one tick of the stream lasts."""
    return stream.time_base or Fraction(1, av.time_base)


def can_seek(stream: VideoStream) -> bool:
    """Return True unless a seek would take very long."""
    entries = stream.index_entries
    return len(entries) <= MAX_DISCARDED or sum(entry.is_discard for entry in entries) <= MAX_DISCARDED


def packets_to_end(
    container: InputContainer, stream: VideoStream, repair: JumpRepair | None = None
) -> Iterator[Packet | None]:
    """Yield the packets with data from here on, then None, which flushes the decoder. A read error ends the packets.

    repair: a new one, to find out about jumps.
    """
    repair = repair or JumpRepair(time_base_of(stream))
    can_jump = container.format.flags & MAY_JUMP
    # PyAV raises IndexError at the end of a file in which a stream appeared late.
    with contextlib.suppress(av.error.FFmpegError, IndexError):
        for packet in container.demux(stream):
            if packet.size:
                if can_jump:
                    repair.apply(packet)
                yield packet
    yield None


def identity(packet: Packet) -> PacketId:
    """Return values that no other packet of the stream shares."""
    return packet.pts, packet.dts, packet.size


def clock_of(container: InputContainer) -> Clock:
    """Return the clock to use: presentation times, except in AVI with its wrong ones and in streams without times."""
    if container.format.name == "avi":
        return "dts"
    return "count" if container.format.flags & NO_TIMESTAMPS else "pts"


def read_index(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Read all packets, in about 1 ms per MB. Raises MediaError if there are none, or too many."""
    times: list[int] = []
    keyframes: list[int] = []
    num_packets = 0
    first: Packet | None = None
    codec = stream.codec_context.codec.canonical_name
    clock = clock_of(container)
    can_hide = codec in ("vp8", "vp9")
    repair = JumpRepair(time_base_of(stream))
    for packet in packets_to_end(container, stream, repair):
        if packet is None:
            break
        first = first or packet
        if packet.is_discard or (can_hide and _is_hidden(packet, codec)):
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
        raise MediaError("cut off after its header: it has no video packets; get a complete copy")
    distinct = sorted(set(times))
    exact = clock == "pts" and len(distinct) == num_packets and bool(keyframes)
    has_jumps = repair.num_jumps > 0
    return PacketIndex(distinct, sorted(keyframes), exact, has_jumps, identity(first), first.duration or 0)


def _is_hidden(packet: Packet, codec: str) -> bool:
    """Return True if a VP8 or VP9 packet holds a frame that is never shown (RFC 6386, 9.1; VP9 specification, 6.2)."""
    data = memoryview(packet)
    first, last = data[0], data[-1]
    if codec == "vp8":
        return not first & 0x10
    is_superframe = last & 0xE0 == 0xC0  # several frames in one packet, the last of them shown
    is_profile_3 = first & 0x30 == 0x30  # one more bit precedes the flags
    shows_existing, shows = (0x04, 0x01) if is_profile_3 else (0x08, 0x02)
    return not is_superframe and not first & shows_existing and not first & shows
