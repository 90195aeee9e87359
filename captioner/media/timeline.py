"""Times that jump, as in recordings that were joined: made continuous while the packets are read."""

from fractions import Fraction

from av.packet import Packet

MAX_GAP_S = 10.0  # FFmpeg's dts_delta_threshold: a longer step forward is a jump, a shorter one a gap in the recording
MAX_STEP_BACK_S = 0.1  # as FFmpeg


class JumpRepair:
    """Shifts the times of a stream's packets so that what follows a jump continues what precedes it, as FFmpeg does."""

    def __init__(self, time_base: Fraction) -> None:
        """time_base: seconds of a tick."""
        self._max_gap, self._max_step_back = round(MAX_GAP_S / time_base), round(MAX_STEP_BACK_S / time_base)
        self.num_jumps = 0
        self._shift = 0  # ticks, added to the times of each packet
        self._last = self._next = self._latest = 0  # decoding time of the last packet and the next, latest frame
        self._has_last = False

    def apply(self, packet: Packet) -> None:
        """Correct the times of the next packet of the stream, in place. The first packet keeps its own."""
        if packet.dts is not None and self._has_last:
            tick = packet.dts + self._shift
            if abs(tick - self._next) > self._max_gap or tick < self._last - self._max_step_back:
                self.num_jumps += 1
                self._shift = self._next - packet.dts
                if packet.pts is not None:  # frames of different delay would overlap
                    step = max(1, self._next - self._last)
                    self._shift = max(self._shift, self._latest + step - packet.pts)
        if packet.pts is not None:
            packet.pts += self._shift
            self._latest = max(self._latest, packet.pts) if self._has_last else packet.pts
        if packet.dts is not None:
            packet.dts += self._shift
            step = packet.duration or (packet.dts - self._last if self._has_last else 0)
            self._last, self._next, self._has_last = packet.dts, packet.dts + max(0, step), True
