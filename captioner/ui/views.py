"""Values -> HTML. Pure functions; every text that comes from a file, a model or a person is escaped here."""

import html
import math
from collections.abc import Sequence

from captioner.devices import CUDA_MISSING
from captioner.events import Progress, ReplicaProgress
from captioner.presets import Preset
from captioner.prompts import Prompt
from captioner.ui.shelf import Counts, Tile

STAGES = {"idle": "Ready", "running": "Captioning", "done": "Done", "stopped": "Stopped", "failed": "Failed"}
ITEMS_SHOWN = 3  # of those that a replica works on
TOY_WORLD = (
    "The demo model knows only a toy world of moving colored shapes and calls everything else a shape too: "
    "it is there to try the app, not to caption real footage."
)
NOTHING_OPEN = "Open a folder of videos and images to caption them."
NOTHING_HERE = "No videos or images here."
NOTHING_CHOSEN = "Select a file to see what the model sees of it and to edit its caption."


def escape(text: object) -> str:
    """For HTML, quoted attributes included. What cannot be sent, such as half a character in a file name, becomes ?."""
    return html.escape(str(text).encode("utf-8", "replace").decode())


def clock(seconds: float) -> str:
    """1:05 or 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def size(num_bytes: float) -> str:
    """In decimal units: 532 B, 1.2 MB."""
    if num_bytes < 1000:
        return f"{num_bytes:.0f} B"
    power = min(3, int(math.log10(num_bytes)) // 3)
    return f"{num_bytes / 1000**power:.1f} {('KB', 'MB', 'GB')[power - 1]}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def status(progress: Progress, now_s: float) -> str:
    """The progress card. Its height is the same in every stage."""
    stage = "queued" if progress.queued_jobs and not progress.active else progress.stage
    full = progress.total and progress.finished / progress.total
    if progress.bytes_total:
        full = progress.bytes_done / progress.bytes_total
    waiting = " waiting" if stage == "loading" and not progress.bytes_total else ""
    return (
        f'<section class="status" data-stage="{stage}" data-job="{progress.job}">'
        f'<div class="line"><b class="stage">{escape(_headline(progress, stage))}</b>{_numbers(progress, now_s)}</div>'
        f'<div class="bar{waiting}"><i style="width:{100 * full:.1f}%"></i></div>'
        f"{_replicas(progress)}</section>"
    )


def _headline(progress: Progress, stage: str) -> str:
    if stage == "queued":
        return "Starting"
    if stage == "loading":
        if progress.bytes_total:
            return f"Downloading {progress.model}: {size(progress.bytes_done)} of {size(progress.bytes_total)}"
        return f"Loading {progress.model}"
    if stage == "done" and not progress.total:
        return "Model loaded" if progress.replicas else "Model unloaded"
    if stage == "done" and progress.failed:
        return f"Done, but {progress.failed:,} failed"
    return STAGES[stage] + (f": {progress.reason}" if progress.reason else "")


def _numbers(progress: Progress, now_s: float) -> str:
    elapsed_s = (progress.ended_s or now_s) - progress.started_s if progress.started_s else 0
    failed = str(progress.failed)
    if progress.failures:
        rows = "".join(f"<li><b>{escape(name)}</b> {escape(reason)}</li>" for name, reason in progress.failures)
        left_out = progress.failed - len(progress.failures)
        rows += f"<li>and {left_out} more</li>" if left_out > 0 else ""
        failed = (
            f'<button type="button" class="link bad" popovertarget="failures">{progress.failed}</button>'
            f'<div popover id="failures" class="sheet-list"><h4>Failed</h4><ul>{rows}</ul></div>'
        )
    cells = {
        "captioned": f"{progress.done:,} / {progress.total:,}" if progress.total else "–",
        "skipped": f"{progress.skipped:,}",
        "failed": failed,
        "tokens/s": f"{progress.tokens_per_s:,.0f}" if progress.tokens_per_s else "–",
        "elapsed": clock(elapsed_s) if progress.started_s else "–",
        "left": f"~{clock(progress.eta_s)}" if progress.eta_s is not None else "–",
    }
    return '<dl class="numbers">' + "".join(f"<div><dt>{k}</dt><dd>{v}</dd></div>" for k, v in cells.items()) + "</dl>"


def _replicas(progress: Progress) -> str:
    tokens = dict(progress.running)
    rows = "".join(
        f'<li data-state="{r.state}"><b>{escape(r.name)}</b><em>{r.state}</em>'
        f'<span title="{escape(r.detail)}">{escape(_work(r, tokens))}</span></li>'
        for r in progress.replicas
    )
    return f'<ul class="replicas">{rows or "<li><span>No model is loaded.</span></li>"}</ul>'


def _work(replica: ReplicaProgress, tokens: dict[str, int]) -> str:
    """What a replica does, in words: those with most tokens first."""
    if replica.detail:
        return replica.detail
    items = sorted(replica.items, key=lambda name: -tokens.get(name, 0))
    parts = [f"{name} ({plural(tokens[name], 'token')})" if tokens.get(name) else name for name in items[:ITEMS_SHOWN]]
    if len(items) > ITEMS_SHOWN:
        parts.append(f"{len(items) - ITEMS_SHOWN} more")
    return " · ".join(parts)


def report(progress: Progress) -> str:
    """What each loaded model runs on and with."""
    if not progress.replicas:
        return '<p class="hint">No model is loaded. It loads by itself when captioning starts.</p>'
    return "".join(
        f'<h4>{escape(r.name)} <em data-state="{r.state}">{r.state}</em></h4>'
        + (f'<p class="hint bad">{escape(r.detail)}</p>' if r.detail else "")
        + '<dl class="report">'
        + "".join(f"<div><dt>{escape(label)}</dt><dd>{escape(text)}</dd></div>" for label, text in r.report)
        + "</dl>"
        for r in progress.replicas
    )


def notices(demo: bool, cuda_missing: bool) -> str:
    texts = [CUDA_MISSING[0].upper() + CUDA_MISSING[1:] + "."] * cuda_missing + [TOY_WORLD] * demo
    return "".join(f'<p class="notice">{escape(text)}</p>' for text in texts)


def counts(counts: Counts | None, warnings: Sequence[str]) -> str:
    """How many files are in which state, and what the scan of the folder had to say."""
    if counts is None:
        return '<div class="counts"></div>'
    parts = [plural(counts.total, "file"), f"{counts.captioned:,} captioned", f"{counts.pending:,} pending"]
    parts += [f"{counts.failed:,} failed"] * bool(counts.failed)
    notes = ""
    if warnings:
        rows = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
        notes = (
            f'<button type="button" class="chip" popovertarget="warnings">{plural(len(warnings), "note")}</button>'
            f'<div popover id="warnings" class="sheet-list"><h4>Notes on this folder</h4><ul>{rows}</ul></div>'
        )
    return f'<div class="counts"><span>{" · ".join(parts)}</span>{notes}</div>'


def tiles(tiles: Sequence[Tile], prefix: str, chosen: str, empty: str) -> str:
    """The page of files. `prefix` is where the pictures are served, relative to the page."""
    if not tiles:
        return f'<p class="empty">{escape(empty)}</p>'
    return f'<div class="tiles">{"".join(_tile(tile, prefix, tile.id == chosen) for tile in tiles)}</div>'


def _tile(tile: Tile, prefix: str, chosen: bool) -> str:
    text, tone = tile.text, ""
    if tile.state == "running":
        text = f"{plural(tile.tokens, 'token')}…" if tile.tokens else "Reading frames…"
    elif tile.problem:
        text, tone = tile.problem, " bad"
    elif not text:
        text, tone = "No caption yet", " none"
    name, pressed = escape(tile.item.name), _pressed(chosen)
    return (
        f'<button type="button" class="tile" data-pick="{tile.id}" data-state="{tile.state}" aria-pressed="{pressed}">'
        f"{_picture(tile, f'{prefix}/thumb')}"
        f'<i class="badge">{tile.item.kind} · {tile.state}</i>'
        f'<b title="{name}">{name}</b><span class="text{tone}">{escape(text)}</span></button>'
    )


def _picture(tile: Tile, address: str, query: str = "") -> str:
    """An image in an element whose name changes with the file: Gradio then replaces it when a page changes, and the
    picture of another file is never shown while this one's loads."""
    tag = f"pic-{tile.id.replace('/', '-')}-{tile.version}"
    return f'<{tag} class="pic"><img src="{address}/{tile.id}?v={tile.version}{query}" loading="lazy" alt=""></{tag}>'


def details(tile: Tile | None, prefix: str, plan: str) -> str:
    """Name, facts and contact sheet of the chosen file. `plan` stands for the sampling, whatever it is."""
    if tile is None:
        return f'<p class="empty">{NOTHING_CHOSEN}</p>'
    facts = " · ".join([tile.item.kind, size(tile.item.size_bytes), *([tile.info] if tile.info else [])])
    problem = f'<p class="hint bad">{escape(tile.problem)}</p>' if tile.problem else ""
    return (
        f'<div class="details"><h3 title="{escape(tile.item.path)}">{escape(tile.item.name)}</h3>'
        f'<p class="hint facts">{escape(facts)}</p>{problem}'
        f'<div class="sheet">{_picture(tile, f"{prefix}/sheet", f"&p={escape(plan)}")}</div></div>'
    )


def page_label(page: int, num_pages: int) -> str:
    return f'<div class="pages">Page {page + 1} of {num_pages}</div>'


def model_note(preset: Preset, recommended: str) -> str:
    """What to know of a model before loading it."""
    needs = f"about {preset.vram_gb:g} GB of GPU memory" if preset.vram_gb else "memory need unknown"
    return (
        f'<div class="model-note"><b>{escape(preset.title)}</b> · {needs}<p>{escape(preset.notes)}</p>'
        f"<p>Recommended: {escape(recommended)}</p></div>"
    )


def problem(text: str) -> str:
    return f'<p class="hint bad">{escape(text)}</p>'


def prompts(prompts: Sequence[Prompt], chosen: str, used: str) -> str:
    """The list to choose from; names are compared whatever their case."""
    rows = "".join(
        f'<button type="button" data-pick="{escape(p.name)}" aria-pressed="{_pressed(_same(p.name, chosen))}">'
        f"<b>{escape(p.name)}</b>"
        f"<em>{'in use' if _same(p.name, used) else 'built in' if p.builtin else 'yours'}</em></button>"
        for p in prompts
    )
    return f'<div class="prompts">{rows}</div>'


def _same(name: str, other: str) -> bool:
    return name.casefold() == other.casefold()


def _pressed(yes: bool) -> str:
    return "true" if yes else "false"
