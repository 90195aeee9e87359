"""`python -m captioner`: the same services as the page, without a browser.

Exit status: 0 all done, 1 some items failed, 2 could not run, 130 stopped with Ctrl+C.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic.fields import FieldInfo
from tqdm import tqdm

from captioner import events as facts
from captioner.bench_media import bench_discovery, bench_sample
from captioner.demo.clips import write_samples
from captioner.errors import CaptionerError, MediaError
from captioner.frames import sample
from captioner.media import discover
from captioner.presets import PRESETS
from captioner.services import Services
from captioner.settings import Settings
from captioner.sheet import contact_sheet
from captioner.values import SamplePlan

STOPPED_BY_USER = 130


def main(arguments: list[str] | None = None) -> int:
    """Parse, run one command, and turn errors into one line and an exit status."""
    args = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO if args.verbose else logging.ERROR, format="%(levelname)s %(message)s")
    sys.stdout.reconfigure(errors="backslashreplace")
    sys.stderr.reconfigure(errors="backslashreplace")
    try:
        return args.run(args)
    except CaptionerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return STOPPED_BY_USER


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="captioner", description="Caption folders of videos and images.")
    parser.add_argument("--state", type=Path, help="folder for settings, prompts and history (CAPTIONER_STATE)")
    parser.add_argument("--verbose", action="store_true", help="log what happens")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    caption = _command(commands, "caption", caption_folder, "write a caption beside every video and image of a folder")
    caption.add_argument("folder", type=Path, help=Settings.model_fields["folder"].description)
    caption.add_argument("--json", action="store_true", help="print one event a line as JSON")
    for name, field in Settings.model_fields.items():
        if name != "folder":
            _setting_option(caption, name, field)

    listing = _command(commands, "list", list_folder, "list the media of a folder and which have captions")
    listing.add_argument("folder", type=Path)
    listing.add_argument("--recursive", action="store_true", help=Settings.model_fields["recursive"].description)
    listing.add_argument("--json", action="store_true", help="print one item a line as JSON")

    frames = _command(commands, "frames", show_frames, "show which frames of a file the model would see")
    frames.add_argument("file", type=Path)
    frames.add_argument("--max-frames", type=int, default=SamplePlan.max_frames, help="default %(default)s")
    frames.add_argument("--fps", type=float, default=SamplePlan.fps, help="default %(default)s")
    frames.add_argument("--frame-size", type=int, default=SamplePlan.frame_size, help="default %(default)s")
    frames.add_argument("-o", "--output", type=Path, help="write a contact sheet to this picture file")
    frames.add_argument("--npz", type=Path, help="write the arrays frames, times_s, indices, fps to this file")

    models = _command(commands, "models", list_models, "list the model presets")
    models.add_argument("--json", action="store_true", help="print one preset a line as JSON")

    prompts = _command(commands, "prompts", list_prompts, "list the prompt library, or print one prompt")
    prompts.add_argument("name", nargs="?", help="prompt to print in full")

    settings = _command(commands, "settings", show_settings, "show the settings, or change some")
    settings.add_argument("changes", nargs="*", metavar="NAME=VALUE", help="settings to change and keep")

    bench = commands.add_parser("bench", help="measure the speed on this machine")
    benches = bench.add_subparsers(required=True, metavar="WHAT")
    sampling = _command(benches, "sample", run_bench_sample, "frame sampling against seeking frame by frame")
    sampling.add_argument("--folder", type=Path, help="keep the clips it makes here, for the next time")
    sampling.add_argument("--repeats", type=int, default=3, help="default %(default)s")
    sampling.add_argument("--json", action="store_true", help="print one JSON object with rows")
    scanning = _command(benches, "discovery", run_bench_discovery, "scanning a folder against reading its names")
    scanning.add_argument("--files", type=int, default=50_000, help="default %(default)s")
    scanning.add_argument("--json", action="store_true", help="print one JSON object with rows")

    demo = _command(commands, "demo", write_demo, "write the sample clips that the demo model knows")
    demo.add_argument("folder", type=Path)
    return parser


def _command(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], int], text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def _setting_option(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    option = f"--{name.replace('_', '-')}"
    text = f"{field.description} Default: {field.default}".replace("%", "%%")
    if field.annotation is bool:
        parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=field.description)
    else:
        parser.add_argument(option, metavar="VALUE", help=text)


def caption_folder(args: argparse.Namespace) -> int:
    given = vars(args)
    overrides = {name: given[name] for name in Settings.model_fields if given.get(name) is not None}
    with Services(args.state, overrides) as services:
        found = services.open_folder(args.folder, services.settings.recursive)
        for warning in found.warnings:
            print(f"note: {warning}", file=sys.stderr)
        if not found.items:
            print(f"no videos or images in {args.folder}", file=sys.stderr)
            return 0
        number = services.start()
        watch = _print_json if args.json else _draw_progress
        try:
            ended = watch(services, number)
        except KeyboardInterrupt:
            services.jobs.stop()
            list(services.jobs.follow(number))
            print("stopped; run the same command again to go on", file=sys.stderr)
            return STOPPED_BY_USER
        progress = services.events.snapshot()
    if ended.outcome == "failed" and not ended.done:
        raise CaptionerError(ended.reason)
    if not args.json:
        seconds = progress.ended_s - progress.started_s
        print(f"{ended.done} captioned, {ended.skipped} had a caption, {ended.failed} failed, in {seconds:.0f} s")
    return 1 if ended.failed or ended.outcome == "failed" else 0


def _print_json(services: Services, number: int) -> facts.JobEnded:
    event = None
    for event in services.jobs.follow(number):
        print(json.dumps(event.to_json()), flush=True)
    return event


def _draw_progress(services: Services, number: int) -> facts.JobEnded:
    """A bar on a terminal, on standard error; elsewhere only notes and failures."""
    event = None
    bar = tqdm(total=len(services.library.items), unit="item", disable=None, dynamic_ncols=True, smoothing=0.1)
    with bar:
        for event in services.jobs.follow(number):
            match event:
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


def list_folder(args: argparse.Namespace) -> int:
    found = discover(args.folder, args.recursive)
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
    for preset in PRESETS:
        if args.json:
            print(json.dumps({name: getattr(preset, name) for name in preset.__dataclass_fields__}))
        else:
            needs = f"{preset.vram_gb:5.1f} GB" if preset.vram_gb else "   ? GB"
            print(f"{preset.key:20} {needs}  {preset.title}: {preset.notes}")
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


def run_bench_sample(args: argparse.Namespace) -> int:
    bench_sample(args.folder, args.repeats, args.json)
    return 0


def run_bench_discovery(args: argparse.Namespace) -> int:
    bench_discovery(args.files, max(1, args.files // 100), args.files * 3 // 5, as_json=args.json)
    return 0


def write_demo(args: argparse.Namespace) -> int:
    try:
        samples = write_samples(args.folder)
    except OSError as error:
        raise CaptionerError(f"cannot write to {args.folder}: {error.strerror or error}") from None
    print(f"wrote {len(samples)} clips and stills to {args.folder}")
    print(f"caption them with: python -m captioner caption {args.folder} --model demo")
    return 0
