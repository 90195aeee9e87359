"""The commands that show or write something small: `list`, `frames`, `models`, `prompts`, `settings`, `demo`."""

import argparse
import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from captioner.cli.command import Commands, add_command, add_folder, given_path, given_roots
from captioner.cli.setting_options import CAPTIONS_TO_TEXT, EXTENSION_TEXT, given_settings
from captioner.cli.streams import say
from captioner.config.presets import about_preset, vram_gb
from captioner.config.recommend import read_machine, suited
from captioner.config.settings import Settings
from captioner.demo.clips import write_samples
from captioner.errors import CaptionerError, MediaError
from captioner.formatting import plural
from captioner.library.measured import FILTERS
from captioner.media.contact_sheet import contact_sheet
from captioner.media.discover import discover
from captioner.media.facts import measured_in
from captioner.media.sample import sample
from captioner.services import Services
from captioner.system.paths import lacks_home
from captioner.system.roots import Roots
from captioner.values import QUANTIZED_BYTES, Measured, SamplePlan


def add_showing(commands: Commands) -> None:
    """Add `list`, `frames`, `models`, `prompts`, `settings` and `demo`."""
    listing = add_command(commands, "list", list_folder, "FOLDER", "captioner list clips --recursive")
    add_folder(listing)
    listing.add_argument("--recursive", action="store_true", help="include subfolders")
    listing.add_argument("--caption-extension", metavar="EXTENSION", help=EXTENSION_TEXT)
    listing.add_argument("--captions-to", metavar="DIR", help=CAPTIONS_TO_TEXT)
    text = "leave out files and folders, as in .gitignore; repeatable"
    listing.add_argument("--exclude", action="append", metavar="PATTERN", help=text)
    text = f"only clips measured so; repeatable: {', '.join(FILTERS)}"
    listing.add_argument("--measured", action="append", choices=[*FILTERS], metavar="NAME", help=text)
    listing.add_argument("--json", action="store_true", help="print one file per line as JSON")

    _add_frames(commands)

    models = add_command(commands, "models", list_models, "", "captioner models")
    models.add_argument("--json", action="store_true", help="print one preset per line as JSON")

    prompts = add_command(commands, "prompts", list_prompts, "[NAME]", "captioner prompts Detailed")
    prompts.add_argument("name", nargs="?", metavar="NAME", help="prompt to print in full (default: list all)")

    example = "captioner settings\ncaptioner settings model=qwen3-vl-8b max_frames=16"
    settings = add_command(commands, "settings", show_settings, "[NAME=VALUE ...]", example)
    settings.add_argument("changes", nargs="*", metavar="NAME=VALUE", help="settings to change and save")

    demo = add_command(commands, "demo", write_demo, "FOLDER", "captioner demo clips")
    demo.add_argument("folder", type=given_path, metavar="FOLDER", help="folder to write them to; created if needed")


def _add_frames(commands: Commands) -> None:
    example = "captioner frames clip.mp4 -o sheet.png"
    add = add_command(commands, "frames", show_frames, "FILE", example).add_argument
    add("file", type=given_path, metavar="FILE", help="clip or image")
    text = "most frames to show the model (default: %(default)s)"
    add("--max-frames", type=int, default=SamplePlan.max_frames, metavar="FRAMES", help=text)
    text = "frames per second to sample from a long clip (default: %(default)s)"
    add("--fps", type=float, default=SamplePlan.fps, metavar="FPS", help=text)
    text = "longest side of a frame (default: %(default)s)"
    add("--frame-size", type=int, default=SamplePlan.frame_size, metavar="PIXELS", help=text)
    add("-o", "--output", type=given_path, metavar="FILE", help="write a contact sheet to this image file")
    add("--npz", type=given_path, metavar="FILE", help="write the arrays frames, times_s, indices and fps")


def list_folder(args: argparse.Namespace) -> int:
    """List the media of a folder and which files have captions."""
    with Services(args.state, given_settings(args), given_roots(args)) as services:
        folder, options = services.roots.resolve(args.folder), services.listing_options(args.recursive)
        found = discover(folder, options, services.roots.escapes)
        known = measured_in(services.database, folder, found.items) if args.measured else {}
    for item in found.items:
        if args.measured and not _is_measured(known.get(item.name), args.measured):
            continue
        if args.json:
            print(json.dumps(item._asdict() | {"folder": str(item.folder)}))
        else:
            say(f"{'captioned' if item.has_caption else 'pending':9}  {item.kind}  {item.name}")
    for warning in found.warnings:
        say(json.dumps({"note": warning}) if args.json else f"note: {warning}", is_note=True)
    num_left_out = sum(item.kind == "video" and item.name not in known for item in found.items)
    if args.measured and num_left_out:
        note = f"{plural(num_left_out, 'clip')} not measured yet; run captioner measure"
        say(json.dumps({"note": note}) if args.json else f"note: {note}", is_note=True)
    return 0


def _is_measured(measured: Measured | None, wanted: Sequence[str]) -> bool:
    return measured is not None and all(FILTERS[name](measured) for name in wanted)


def show_frames(args: argparse.Namespace) -> int:
    """Show which frames of a file the model would see."""
    roots = Roots.local([args.file.parent, *args.root])
    if roots.escapes(args.file):
        roots.resolve(args.file)  # raises the reason
    plan = SamplePlan(args.max_frames, args.fps, min(SamplePlan.min_frames, args.max_frames), args.frame_size)
    try:
        frames = sample(args.file, plan, within=roots.within)
    except MediaError as error:
        raise MediaError(f"{args.file}: {error}") from None
    count, height, width, _ = frames.pixels.shape
    print(f"{count} frames of {width}x{height}, source {frames.fps:.3f} fps")
    print("times_s  " + " ".join(f"{t:.3f}" for t in frames.times_s))
    print("indices  " + " ".join(str(i) for i in frames.indices))
    if frames.warning:
        say(f"note: {frames.warning}", is_note=True)
    try:
        if args.output:
            contact_sheet(frames).save(args.output)
        if args.npz:
            times_s, indices, fps = frames.times_s, frames.indices, np.float64(frames.fps)
            np.savez_compressed(args.npz, frames=frames.pixels, times_s=times_s, indices=indices, fps=fps)
    except (OSError, ValueError) as error:
        raise CaptionerError(f"cannot write the output: {error}") from None
    return 0


def list_models(args: argparse.Namespace) -> int:
    """List the model presets, those recommended for this machine first, and the GPU memory they need."""
    group = None
    for choice in suited(read_machine()):
        preset = choice.preset
        if args.json:
            smaller = {f"vram_{kind}_gb": vram_gb(preset, kind) for kind in QUANTIZED_BYTES}
            about = {"recommended": choice.is_recommended, "why": choice.why}
            print(json.dumps(asdict(preset) | smaller | about))
            continue
        if choice.is_recommended != group:
            group = choice.is_recommended
            title = "recommended here, GB:" if group else "\nothers, GB:"
            print(f"{title:{24 + (not group)}} 16bit  8bit  4bit" + ("  (-: unknown or not available)" * bool(group)))
        needs = (vram_gb(preset, kind) for kind in ("none", *QUANTIZED_BYTES))
        row = " ".join(f"{gb:5.1f}" if gb else "    -" for gb in needs)
        say(f"{preset.key:24} {row}  {choice.why}")
        say(f"{'':24} {preset.title}: {preset.notes} {about_preset(preset)}")
    return 0


def list_prompts(args: argparse.Namespace) -> int:
    """List the prompt library, or print one prompt."""
    with Services(args.state) as services:
        if args.name:
            say(services.prompts.get(args.name).text, keep="\n\t")
            return 0
        for prompt in services.prompts.list():
            say(f"{prompt.name:20} {'built in' if prompt.builtin else 'yours   '}  {prompt.text[:70]}")
    return 0


def show_settings(args: argparse.Namespace) -> int:
    """Show the settings, or change some of them."""
    changes = {}
    for change in args.changes:
        name, equals, value = change.partition("=")
        if not equals:
            raise CaptionerError(f"{change}: write NAME=VALUE, for example max_frames=16")
        changes[name.strip()] = value.strip()
    with Services(args.state) as services:
        settings = services.change_settings(changes) if changes else services.settings
        for name, field in Settings.model_fields.items():
            value = getattr(settings, name)
            shown = ",".join(value) if isinstance(value, tuple) else value
            say(f"{name:18} {shown!s:14} {field.description}")
    return 0


def write_demo(args: argparse.Namespace) -> int:
    """Write the sample clips that the demo model can caption."""
    if lacks_home(str(args.folder)):
        raise CaptionerError(f"there is no home folder for {args.folder}")
    try:
        samples = write_samples(args.folder)
    except OSError as error:
        raise CaptionerError(f"cannot write to {args.folder}: {error.strerror or error}") from None
    say(f"wrote {len(samples)} clips and images to {args.folder}")
    say(f"caption them with: captioner caption {shlex.quote(str(args.folder))} --model demo")
    return 0
