"""The model in the Settings tab, as HTML: what it needs, its state, and what it runs on."""

from captioner.config.presets import Preset, about_preset, vram_gb
from captioner.jobs.progress import Progress
from captioner.ui.format import definitions, escape
from captioner.ui.model_status import ModelStatus
from captioner.values import Quantization

PRECISIONS: dict[Quantization, str] = {"none": "16-bit", "8bit": "8-bit", "4bit": "4-bit"}


def model_note(preset: Preset, quantization: str, gpu_gb: float | None, automatic: bool) -> str:
    """Return the model's memory by quantization, and what it is good for. gpu_gb: the memory of the largest GPU."""
    chips = []
    for value, label in PRECISIONS.items():
        needs_gb = vram_gb(preset, value)
        if needs_gb is None:
            continue
        over = gpu_gb is not None and needs_gb > gpu_gb
        tip = f' title="more than the {gpu_gb:.0f} GB of the largest GPU here"' if over else ""
        chips.append(
            f'<i data-on="{str(value == quantization).lower()}" data-over="{str(over).lower()}"{tip}>'
            f"{label} <b>{needs_gb:g} GB</b></i>"
        )
    memory = "".join(chips) or "<i>memory need unknown</i>"
    chosen = f"Automatic chooses <b>{escape(preset.title)}</b> here. " if automatic else ""
    about = f"{preset.notes} {about_preset(preset)}"
    return f'<div class="note"><div class="chips">{memory}</div><p>{chosen}{escape(about)}</p></div>'


def model_state(status: ModelStatus) -> str:
    """Return the status of the model with a bar for its download, equally high in every state."""
    text, bar = escape(status.text), f'<div class="bar"><i style="width:{status.percent:.1f}%"></i></div>'
    return f'<div class="model-state" data-state="{status.state}"><p title="{text}">{text}</p>{bar}</div>'


def model_report(progress: Progress) -> str:
    """Return the device and capabilities of each loaded copy of the model; "" if none is loaded."""
    reports = []
    for replica in progress.replicas:
        detail = f'<p class="note bad">{escape(replica.detail)}</p>' if replica.detail else ""
        state = "failed" if replica.state == "lost" else replica.state
        title = f'<h4>{escape(replica.label)} <em data-state="{replica.state}">{state}</em></h4>'
        reports.append(f'{title}{detail}<dl class="capabilities">{definitions(replica.report)}</dl>')
    return "".join(reports)
