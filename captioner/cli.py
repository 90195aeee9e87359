"""`python -m captioner`: the same services as the page, without a browser.

Exit status: 0 all done, 1 some items failed, 2 could not run, 130 stopped with Ctrl+C.
"""

import argparse
import json
import shlex
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic.fields import FieldInfo
from tqdm import tqdm

from captioner import facts
from captioner.bench.command import add_bench
from captioner.bulk_command import add_bulk
from captioner.command import STOPPED_BY_USER, add_command, given_roots, new_parser, run_command
from captioner.demo.clips import write_samples
from captioner.errors import CaptionerError, MediaError
from captioner.frames import sample
from captioner.media import discover
from captioner.presets import PRESETS, vram_gb
from captioner.processes import CLOSE_TIMEOUT_S, end_now
from captioner.roots import Roots
from captioner.services import Services
from captioner.settings import Settings
from captioner.sheet import contact_sheet
from captioner.values import QUANTIZED_BYTES, SamplePlan

SETTINGS_OF_A_RESUME = ("offline", "models_folder")  # may differ from those of the job


def main(arguments: list[str] | None = None) -> int:
    """Parse, run one command, and turn errors into one line and an exit status."""
    return run_command(build_parser().parse_args(arguments))


def build_parser() -> argparse.ArgumentParser:
    parser, commands = new_parser()

    text = "write a caption beside every video and image of a folder"
    caption = add_command(commands, "caption", caption_folder, text)
    caption.add_argument("--json", action="store_true", help="print one event a line as JSON")
    text = "go on with the last job that was cut short (in this folder, if one is given), as it was asked for"
    caption.add_argument("--resume", action="store_true", help=text)
    text = "with --existing overwrite, prefix or append: captions that another program has changed, too"
    caption.add_argument("--changed-elsewhere", action="store_true", help=text)
    _setting_options(caption, folder="?")

    plan = add_command(commands, "plan", plan_folder, "say what captioning a folder would take, and caption nothing")
    plan.add_argument("--json", action="store_true", help="print one JSON object")
    _setting_options(plan)

    listing = add_command(commands, "list", list_folder, "list the media of a folder and which have captions")
    listing.add_argument("folder", type=Path)
    listing.add_argument("--recursive", action="store_true", help=Settings.model_fields["recursive"].description)
    listing.add_argument("--json", action="store_true", help="print one item a line as JSON")

    frames = add_command(commands, "frames", show_frames, "show which frames of a file the model would see")
    frames.add_argument("file", type=Path)
    frames.add_argument("--max-frames", type=int, default=SamplePlan.max_frames, help="default %(default)s")
    frames.add_argument("--fps", type=float, default=SamplePlan.fps, help="default %(default)s")
    frames.add_argument("--frame-size", type=int, default=SamplePlan.frame_size, help="default %(default)s")
    frames.add_argument("-o", "--output", type=Path, help="write a contact sheet to this picture file")
    frames.add_argument("--npz", type=Path, help="write the arrays frames, times_s, indices, fps to this file")

    models = add_command(commands, "models", list_models, "list the model presets")
    models.add_argument("--json", action="store_true", help="print one preset a line as JSON")

    prompts = add_command(commands, "prompts", list_prompts, "list the prompt library, or print one prompt")
    prompts.add_argument("name", nargs="?", help="prompt to print in full")

    settings = add_command(commands, "settings", show_settings, "show the settings, or change some")
    settings.add_argument("changes", nargs="*", metavar="NAME=VALUE", help="settings to change and keep")

    add_bulk(commands)
    add_bench(commands)

    demo = add_command(commands, "demo", write_demo, "write the sample clips that the demo model knows")
    demo.add_argument("folder", type=Path)
    return parser


def _setting_options(parser: argparse.ArgumentParser, folder: str | None = None) -> None:
    """The folder and an option for every other setting. folder: argparse's `nargs` of it."""
    parser.add_argument("folder", type=Path, nargs=folder, help=Settings.model_fields["folder"].description)
    for name, field in Settings.model_fields.items():
        if name != "folder":
            _setting_option(parser, name, field)


def _given_settings(args: argparse.Namespace) -> dict[str, Any]:
    given = vars(args)
    return {name: given[name] for name in Settings.model_fields if given.get(name) is not None}


def _setting_option(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    option = f"--{name.replace('_', '-')}"
    text = f"{field.description} Default: {field.default}".replace("%", "%%")
    if field.annotation is bool:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=field.description)
    else:
        parser.add_argument(option, metavar="VALUE", help=text)


def caption_folder(args: argparse.Namespace) -> int:
    if args.folder is None and not args.resume:
        raise CaptionerError("give the folder to caption, or --resume to go on with the last job")
    with Services(args.state, _given_settings(args), given_roots(args)) as services:
        services.claim()
        number = _resume(services, args) if args.resume else _start(services, args.folder, args.changed_elsewhere)
        if number is None:
            return 0
        watch = _print_json if args.json else _draw_progress
        try:
            ended = watch(services, number)
        except KeyboardInterrupt:
            _end_late(args.state)
            services.jobs.close()
            print(_after_stop(services, number, args.state), file=sys.stderr)
            return STOPPED_BY_USER
        progress = services.events.snapshot()
    if ended.outcome == "failed" and not ended.done:
        raise CaptionerError(ended.reason)
    if not args.json:
        seconds = progress.ended_s - progress.started_s
        print(f"{ended.done} captioned, {ended.skipped} had a caption, {ended.failed} failed, in {seconds:.0f} s")
    return 1 if ended.failed or ended.outcome == "failed" else 0


def _start(services: Services, folder: Path, consent: bool) -> int | None:
    """The number of the new job; None if there is nothing in the folder."""
    found = services.open_folder(folder, services.settings.recursive)
    for warning in found.warnings:
        print(f"note: {warning}", file=sys.stderr)
    if not found.items:
        print(f"no videos or images in {folder}", file=sys.stderr)
        return None
    return services.start(consent=consent)


def _resume(services: Services, args: argparse.Namespace) -> int | None:
    """The number of the job that goes on with the last one cut short; None if there is none."""
    given = [name for name in _given_settings(args) if name not in (*SETTINGS_OF_A_RESUME, "folder")]
    given += ["changed_elsewhere"] if args.changed_elsewhere else []
    if given:
        raise CaptionerError(f"--resume goes on as the job was asked for; leave out --{given[0].replace('_', '-')}")
    folder = args.folder and services.roots.resolve(args.folder)
    job = next((job for job in services.unfinished() if folder in (None, job.folder)), None)
    if job is None:
        print(f"no job is unfinished{f' in {folder}' if folder else ''}", file=sys.stderr)
        return None
    print(f"going on with job {job.operation}, {job.left:,} of {job.total:,} files left: {job.folder}", file=sys.stderr)
    return services.resume(job.operation)


def _after_stop(services: Services, number: int, state: Path | None) -> str:
    left = next((job.left for job in services.unfinished() if job.operation == number), 0)
    if not left:
        return f"stopped; nothing is left of job {number}"
    return f"stopped with {left:,} files of job {number} left; {_how_to_resume(state)}"


def _how_to_resume(state: Path | None) -> str:
    return f"go on with: python -m captioner{f' --state {shlex.quote(str(state))}' if state else ''} caption --resume"


def _end_late(state: Path | None) -> None:
    """What does not stop by itself, such as a download without an answer, is ended; the next start settles the rest."""

    def end() -> None:
        print(f"stopped; {_how_to_resume(state)}", file=sys.stderr, flush=True)
        end_now(STOPPED_BY_USER)

    timer = threading.Timer(CLOSE_TIMEOUT_S, end)
    timer.daemon = True
    timer.start()


def _print_json(services: Services, number: int) -> facts.JobEnded:
    event = None
    for event in services.jobs.follow(number):
        print(json.dumps(event.to_json()), flush=True)
    return event


def _draw_progress(services: Services, number: int) -> facts.JobEnded:
    """A bar on a terminal, on standard error; elsewhere only notes and failures."""
    event = None
    bar = tqdm(unit="item", disable=None, dynamic_ncols=True, smoothing=0.1)
    with bar:
        for event in services.jobs.follow(number):
            match event:
                case facts.JobStarted():
                    bar.reset(event.total)
                case facts.ModelLoading(bytes_total=total) if total:
                    bar.set_description_str(f"downloading {event.bytes_done / 1e9:.1f} of {total / 1e9:.1f} GB")
                case facts.ModelLoading():
                    bar.set_description_str(f"loading {event.model}")
                case facts.ReplicaChanged(state="ready"):
                    bar.set_description_str("captioning")
                case facts.ReplicaChanged(state="lost"):
                    bar.write(f"lost {event.replica}: {event.detail}", file=sys.stderr)
                case facts.ItemFailed():
                    bar.write(f"failed {event.path}: {event.reason}", file=sys.stderr)
                    bar.update()
                case facts.ItemDone():
                    if event.warning:
                        bar.write(f"note {event.path}: {event.warning}", file=sys.stderr)
                    bar.update()
                case facts.ItemSkipped():
                    bar.update()
                case facts.ItemProgress():
                    bar.set_postfix_str(f"{services.events.snapshot().tokens_per_s:.0f} tokens/s")
    return event


def plan_folder(args: argparse.Namespace) -> int:
    with Services(args.state, _given_settings(args), given_roots(args)) as services:
        services.open_folder(args.folder, services.settings.recursive)
        plan = services.plan()
    if args.json:
        print(json.dumps(asdict(plan) | {"seconds": plan.seconds, "summary": plan.summary()}))
        return 0
    print(plan.summary())
    print(f"{plan.num_left_alone:,} files have a caption and are left alone")
    if plan.num_files:
        print(f"visual tokens a file: {plan.median_visual_tokens:,} median, {plan.longest_visual_tokens:,} longest")
        print(f"prompt tokens in all: about {plan.num_prompt_tokens:,}, visual ones included")
        print(f"one request takes at most {plan.max_tokens:,} tokens, its caption included")
    return 0


def list_folder(args: argparse.Namespace) -> int:
    roots = given_roots(args)
    found = discover(roots.resolve(args.folder), args.recursive, roots.leads_out)
    for item in found.items:
        if args.json:
            row = item._asdict() | {"folder": str(item.folder)}
            print(json.dumps(row))
        else:
            print(f"{'captioned' if item.has_caption else 'pending':9}  {item.kind}  {item.name}")
    for warning in found.warnings:
        print(f"note: {warning}", file=sys.stderr)
    return 0


def show_frames(args: argparse.Namespace) -> int:
    roots = Roots.local([args.file.parent, *args.root])
    if roots.leads_out(args.file):
        roots.resolve(args.file)  # raises the reason
    plan = SamplePlan(args.max_frames, args.fps, min(SamplePlan.min_frames, args.max_frames), args.frame_size)
    try:
        frames = sample(args.file, plan)
    except MediaError as error:
        raise MediaError(f"{args.file}: {error}") from None
    count, height, width, _ = frames.pixels.shape
    print(f"{count} frames of {width}x{height}, source {frames.fps:.3f} fps")
    print("times_s  " + " ".join(f"{t:.3f}" for t in frames.times_s))
    print("indices  " + " ".join(str(i) for i in frames.indices))
    if frames.warning:
        print(f"note: {frames.warning}", file=sys.stderr)
    try:
        if args.output:
            contact_sheet(frames).save(args.output)
        if args.npz:
            arrays = {"times_s": frames.times_s, "indices": frames.indices, "fps": np.float64(frames.fps)}
            np.savez_compressed(args.npz, frames=frames.pixels, **arrays)
    except (OSError, ValueError) as error:
        raise CaptionerError(f"cannot write the output: {error}") from None
    return 0


def list_models(args: argparse.Namespace) -> int:
    if not args.json:
        print(f"{'GB of GPU memory':20} 16bit  8bit  4bit  (a dash: unknown, or not to be had)")
    for preset in PRESETS:
        if args.json:
            smaller = {f"vram_{kind}_gb": vram_gb(preset, kind) for kind in QUANTIZED_BYTES}
            print(json.dumps({name: getattr(preset, name) for name in preset.__dataclass_fields__} | smaller))
        else:
            needs = (vram_gb(preset, kind) for kind in ("none", *QUANTIZED_BYTES))
            row = " ".join(f"{gb:5.1f}" if gb else "    -" for gb in needs)
            print(f"{preset.key:20} {row}  {preset.title}: {preset.notes}")
    return 0


def list_prompts(args: argparse.Namespace) -> int:
    with Services(args.state) as services:
        if args.name:
            print(services.prompts.get(args.name).text)
            return 0
        for prompt in services.prompts.list():
            print(f"{prompt.name:20} {'built in' if prompt.builtin else 'yours   '}  {prompt.text[:70]}")
    return 0


def show_settings(args: argparse.Namespace) -> int:
    changes = {}
    for change in args.changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise CaptionerError(f"{change}: write NAME=VALUE, such as max_frames=16")
        changes[name.strip()] = value.strip()
    with Services(args.state) as services:
        settings = services.change_settings(changes) if changes else services.settings
        for name, field in Settings.model_fields.items():
            value = getattr(settings, name)
            shown = ",".join(value) if isinstance(value, tuple) else value
            print(f"{name:18} {shown!s:14} {field.description}")
    return 0


def write_demo(args: argparse.Namespace) -> int:
    try:
        samples = write_samples(args.folder)
    except OSError as error:
        raise CaptionerError(f"cannot write to {args.folder}: {error.strerror or error}") from None
    print(f"wrote {len(samples)} clips and stills to {args.folder}")
    print(f"caption them with: python -m captioner caption {args.folder} --model demo")
    return 0
