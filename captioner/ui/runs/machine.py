"""CPU, memory and GPUs of this machine: a chip with a popover for the header. All browsers share the readings."""

import math
import threading
import time
from collections.abc import Callable

from captioner.formatting import sentence
from captioner.system.resources import Gpu, Resources, read_resources
from captioner.ui.format import escape

READ_EVERY_S = 2.0  # pages ask in the same interval
FULL_PERCENT, HOT_C = 95, 85  # memory and temperature are highlighted from here on


class Readings:
    """Reads the machine at most every READ_EVERY_S seconds, however many viewers ask. Any thread may call."""

    def __init__(self, read: Callable[[], Resources] = read_resources, clock: Callable[[], float] = time.monotonic):
        self._read, self._clock = read, clock
        self._lock = threading.Lock()
        self._latest: Resources | None = None
        self._read_at_s = 0.0

    def latest(self) -> Resources:
        with self._lock:
            now_s = self._clock()
            if self._latest is None or now_s - self._read_at_s >= 0.9 * READ_EVERY_S:  # page timers are not exact
                self._latest, self._read_at_s = self._read(), now_s
            return self._latest


def view(resources: Resources) -> str:
    """Return the chip and its popover as HTML. The popover stays open while it is updated, as its id never changes."""
    rows = _row("CPU", resources.cpu_percent, _percent(resources.cpu_percent))
    rows += _memory("RAM", resources.ram_used_bytes, resources.ram_total_bytes)
    note = escape(sentence(resources.gpu_note or "no GPU"))
    gpus = "".join(_gpu(gpu) for gpu in resources.gpus) or f'<p class="machine-note">{note}</p>'
    return (
        '<div class="machine"><button type="button" popovertarget="machine" title="Resources of this machine">'
        f"{_chip(resources)}</button>"
        f'<div popover id="machine"><h4>This machine</h4><dl>{rows}</dl>{gpus}</div></div>'
    )


def _chip(resources: Resources) -> str:
    ram = f"{resources.ram_used_bytes / 1e9:.0f}/{resources.ram_total_bytes / 1e9:.0f} GB"
    parts = [("CPU", _percent(resources.cpu_percent)), ("RAM", ram)]
    busy = [gpu.utilization_percent for gpu in resources.gpus if gpu.utilization_percent is not None]
    if resources.gpus:
        name = "GPU" if len(resources.gpus) == 1 else f"{len(resources.gpus)} GPUs"
        parts.append((name, _percent(sum(busy) / len(busy)) if busy else "–"))
    else:
        parts.append(("", "no GPU"))
    return "".join(f"<span><i>{name}</i><b>{text}</b></span>" for name, text in parts)


def _gpu(gpu: Gpu) -> str:
    rows = _row("use", gpu.utilization_percent, _percent(gpu.utilization_percent))
    rows += _memory("VRAM", gpu.vram_used_bytes, gpu.vram_total_bytes)
    rows += _row("temperature", gpu.temperature_c, _known(gpu.temperature_c, "°C"), HOT_C)
    limit = f" of {gpu.power_limit_w:.0f}" if gpu.power_limit_w else ""
    share = 100 * gpu.power_w / gpu.power_limit_w if gpu.power_w is not None and gpu.power_limit_w else None
    rows += _row("power", share, "–" if gpu.power_w is None else f"{gpu.power_w:.0f}{limit} W")
    return f"<h5>GPU {gpu.index}<span>{escape(gpu.name)}</span></h5><dl>{rows}</dl>"


def _memory(name: str, used: int | None, total: int | None) -> str:
    if used is None or not total:
        return _row(name, None, "–")
    return _row(name, 100 * used / total, f"{used / 1e9:.1f} of {total / 1e9:.1f} GB", FULL_PERCENT)


def _row(name: str, share: float | None, text: str, alarm: float = math.inf) -> str:
    width = min(max(share or 0.0, 0.0), 100.0)
    bar = f'<dd class="machine-bar"{" data-alarm" * (width >= alarm)}><i style="width:{width:.0f}%"></i></dd>'
    return f"<div><dt>{name}</dt>{bar}<dd>{text}</dd></div>"


def _percent(value: float | None) -> str:
    return _known(None if value is None else round(value), "%")


def _known(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value} {unit}"
