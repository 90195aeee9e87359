"""`python -m captioner`: the same services as the page, without a browser.

Exit status: 0 all done, 1 some items failed, 2 could not run, 130 stopped with Ctrl+C.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from captioner.cli.bench.command import add_bench
from captioner.cli.caption import add_captioning
from captioner.cli.command import add_command, given_roots, new_parser, run_command
from captioner.cli.edit import add_bulk
from captioner.config.presets import PRESETS, vram_gb
from captioner.config.settings import Settings
from captioner.demo.clips import write_samples
from captioner.errors import CaptionerError, MediaError
from captioner.media.contact_sheet import contact_sheet
from captioner.media.discover import discover
from captioner.media.sample import sample
from captioner.services import Services
from captioner.system.roots import Roots
from captioner.values import QUANTIZED_BYTES, SamplePlan


def main(arguments: list[str] | None = None) -> int:
    """Parse, run one command, and turn errors into one line and an exit status."""
    return run_command(build_parser().parse_args(arguments))


def build_parser() -> argparse.ArgumentParser:
    parser, commands = new_parser()

    add_captioning(commands)

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


def list_folder(args: argparse.Namespace) -> int:
    roots = given_roots(args)
    found = discover(roots.resolve(args.folder), args.recursive, roots.escapes)
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
    if roots.escapes(args.file):
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
