"""`caption` and `plan` of the command line: what a job over a folder takes, and the job."""

import argparse
import json
import shlex
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from tqdm import tqdm

from captioner.cli.command import STOPPED_BY_USER, add_command, given_roots
from captioner.config.settings import Settings
from captioner.errors import CaptionerError
from captioner.jobs.events import (
    ItemDone,
    ItemFailed,
    ItemProgress,
    ItemSkipped,
    JobEnded,
    JobStarted,
    ModelLoading,
    ReplicaChanged,
)
from captioner.services import Services
from captioner.system.processes import CLOSE_TIMEOUT_S, end_now

SETTINGS_OF_A_RESUME = ("offline", "models_folder")  # may differ from those of the job


def add_captioning(commands: argparse._SubParsersAction) -> None:
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
    for warning in found.scan.warnings:
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


def _print_json(services: Services, number: int) -> JobEnded:
    event = None
    for event in services.jobs.follow(number):
        print(json.dumps(event.to_json()), flush=True)
    return event


def _draw_progress(services: Services, number: int) -> JobEnded:
    """A bar on a terminal, on standard error; elsewhere only notes and failures."""
    event = None
    bar = tqdm(unit="item", disable=None, dynamic_ncols=True, smoothing=0.1)
    with bar:
        for event in services.jobs.follow(number):
            match event:
                case JobStarted():
                    bar.reset(event.total)
                case ModelLoading(bytes_total=total) if total:
                    bar.set_description_str(f"downloading {event.bytes_done / 1e9:.1f} of {total / 1e9:.1f} GB")
                case ModelLoading():
                    bar.set_description_str(f"loading {event.model}")
                case ReplicaChanged(state="ready"):
                    bar.set_description_str("captioning")
                case ReplicaChanged(state="lost"):
                    bar.write(f"lost {event.replica}: {event.detail}", file=sys.stderr)
                case ItemFailed():
                    bar.write(f"failed {event.path}: {event.reason}", file=sys.stderr)
                    bar.update()
                case ItemDone():
                    if event.warning:
                        bar.write(f"note {event.path}: {event.warning}", file=sys.stderr)
                    bar.update()
                case ItemSkipped():
                    bar.update()
                case ItemProgress():
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
