"""The commands `caption` and `plan`: caption a folder, or estimate what that would take."""

import argparse
import json
import shlex
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from captioner.captions.flaws import is_of_length, of_several
from captioner.cli.bar import Bar, new_bar
from captioner.cli.command import STOPPED_BY_USER, Commands, add_command, given_roots
from captioner.cli.job_bar import show_event
from captioner.cli.setting_options import add_settings, given_settings
from captioner.cli.streams import say
from captioner.dataset.targets import chosen_target
from captioner.errors import CaptionerError, JobError
from captioner.formatting import plural, printable
from captioner.jobs import events
from captioner.jobs.progress import Progress
from captioner.services import Services
from captioner.system.processes import CLOSE_TIMEOUT_S, end_now

FLAWED_SHOWN = 5  # names in the summary
WORKERS_SHOWN = 4  # beside the bar
Flaws = dict[str, list[str]]  # what is wrong with captions -> names of their items
Faulty = dict[str, tuple[str, ...]]  # names of items -> rules that a repair could not satisfy
RESUME_TEXT = "resume the last unfinished job (of FOLDER, if given) with its original settings"
CHANGEABLE_ON_RESUME = ("offline", "models_folder")


def add_captioning(commands: Commands) -> None:
    """Add `caption` and `plan`."""
    example = "captioner caption clips --model qwen3-vl-8b --prompt-name Wan\ncaptioner caption --resume"
    caption = add_command(commands, "caption", caption_folder, "[FOLDER]", example)
    add_settings(caption, optional_folder=True)
    add = caption.add_argument_group("this job").add_argument
    add("--resume", action="store_true", help=RESUME_TEXT)
    text = "with --existing overwrite, prefix or append: also replace captions edited by other programs"
    add("--changed-outside", action="store_true", help=text)
    add("--changed-elsewhere", action="store_true", dest="changed_outside", help=argparse.SUPPRESS)  # its old name
    add("--json", action="store_true", help="print one event per line as JSON")

    plan = add_command(commands, "plan", plan_folder, "FOLDER", "captioner plan clips --model qwen3-vl-8b")
    add_settings(plan)
    plan.add_argument_group("output").add_argument("--json", action="store_true", help="print one JSON object")


def caption_folder(args: argparse.Namespace) -> int:
    """Write a caption beside every clip and image of a folder."""
    return run_job(args, lambda services: _start(services, args.folder, args.changed_outside))


def run_job(args: argparse.Namespace, start: Callable[[Services], int | None]) -> int:
    """Run the job that `start` starts, or resume one, and return the exit status. start: returns None for no job."""
    if args.folder is None and not args.resume:
        raise CaptionerError("name the folder to caption, or use --resume to resume the last job")
    with Services(args.state, given_settings(args), given_roots(args)) as services:
        services.claim()
        how_to_resume = f"resume with: captioner{_state_option(args)} caption --resume"
        number = _resume(services, args) if args.resume else start(services)
        if number is None:
            return 0
        flaws: Flaws = {}
        faulty: Faulty = {}
        try:
            ended = _follow(services, number, args.json, flaws, faulty)
        except KeyboardInterrupt:
            _end_late(f"stopped; {how_to_resume}")
            services.jobs.close()
            left = _num_left(services, number)
            rest = f"stopped with {plural(left, 'file')} of job {number} left; {how_to_resume}"
            say(rest if left else f"stopped; nothing is left of job {number}", is_note=True)
            return STOPPED_BY_USER
        progress, is_retried = services.events.snapshot(), services.settings.retry_cut
        left = _num_left(services, number)
    if ended.outcome == "failed" and not ended.done:
        raise JobError(ended.reason)
    if not args.json:
        seconds = progress.ended_s - progress.started_s
        print(f"{ended.done} captioned, {ended.skipped} skipped, {ended.failed} failed, in {max(0.0, seconds):.0f} s")
        _print_workers(progress)
        _print_flaws({} if faulty else flaws, is_retried)
        _print_faulty(faulty)
        if ended.unwritten:
            say(f"{ended.reason}: captioner{_state_option(args)} caption --resume", is_note=True)
        elif ended.outcome == "failed":
            say(f"error: {ended.reason}; {plural(left, 'file')} left; {how_to_resume}", is_note=True)
    return 1 if ended.failed or ended.faulty or ended.outcome == "failed" else 0


def _num_left(services: Services, number: int) -> int:
    """Return how many files the job has left."""
    return next((job.left for job in services.unfinished() if job.operation == number), 0)


def _start(services: Services, folder: Path, consent: bool) -> int | None:
    """Start a job and return its number, or None if there is nothing in the folder."""
    return services.start(consent=consent) if open_for_job(services, folder) else None


def open_for_job(services: Services, folder: Path) -> bool:
    """Open a folder and print what there is to know before a job; return whether there are any files."""
    found = services.open_folder(folder, services.settings.recursive)
    for warning in found.scan.warnings:
        say(f"note: {warning}", is_note=True)
    if (chosen := chosen_target(services.settings)).name != "none":
        prompt = "prompt of the settings" if services.settings.prompt else f"prompt {services.prompt_name}"
        say(f"note: for {chosen.title}: {chosen.summary}, {prompt}", is_note=True)
    if not found.items:
        say(f"no clips or images in {folder}", is_note=True)
    return bool(found.items)


def _resume(services: Services, args: argparse.Namespace) -> int | None:
    """Resume the last unfinished job and return the number of the new one, or None if there is none."""
    given = [name for name in given_settings(args) if name not in (*CHANGEABLE_ON_RESUME, "folder")]
    given += ["changed_outside"] if args.changed_outside else []
    if given:
        raise CaptionerError(f"--resume uses the job's own settings; remove --{given[0].replace('_', '-')}")
    folder = args.folder and services.roots.resolve(args.folder)
    job = next((job for job in services.unfinished() if folder in (None, job.folder)), None)
    if job is None:
        say(f"no unfinished job{f' in {folder}' if folder else ''}", is_note=True)
        return None
    if not services.roots.confined:
        services.roots.confine(services.jobs.journal.within_of(job.operation))
        for root in args.root:
            services.roots.add(root)
    left = f"{job.left:,} of {plural(job.total, 'file')} left"
    say(f"resuming job {job.operation} in {job.folder} ({left})", is_note=True)
    return services.resume(job.operation)


def _end_late(text: str) -> None:
    """Print a text and end the program if it does not end by itself, such as during a download without an answer."""

    def end() -> None:
        say(text, is_note=True)
        sys.stderr.flush()
        end_now(STOPPED_BY_USER)

    timer = threading.Timer(CLOSE_TIMEOUT_S, end)
    timer.daemon = True
    timer.start()


def _state_option(args: argparse.Namespace) -> str:
    return f" --state {shlex.quote(str(args.state))}" if args.state else ""


def _speeds(progress: Progress) -> str:
    """Return the tokens per second, of each worker too if there are few."""
    working = [replica for replica in progress.replicas if replica.items]
    each = ", ".join(f"{printable(replica.label)} {replica.tokens_per_s:.0f}" for replica in working)
    return f"{progress.tokens_per_s:.0f} tokens/s" + (f" ({each})" if 1 < len(working) <= WORKERS_SHOWN else "")


def _print_workers(progress: Progress) -> None:
    """Print what each of several workers has done."""
    working = [replica for replica in progress.replicas if replica.done]
    for replica in working if len(working) > 1 else ():
        say(f"{replica.label}: {plural(replica.done, 'caption')}, {replica.tokens_per_s:.0f} tokens/s")


def _print_flaws(flaws: Flaws, is_retried: bool) -> None:
    """Print which captions were cut off or repeat themselves."""
    for flaw, names in flaws.items():
        more = f" and {len(names) - FLAWED_SHOWN:,} more" if len(names) > FLAWED_SHOWN else ""
        words = flaw if len(names) == 1 else of_several(flaw)
        say(f"{plural(len(names), 'caption')} {words}: {', '.join(names[:FLAWED_SHOWN])}{more}", is_note=True)
    if any(map(is_of_length, flaws)) and not is_retried:
        say("--retry-cut tries such captions once more: cut off ones with twice the length", is_note=True)


def _print_faulty(faulty: Faulty) -> None:
    """Print which captions a repair has left faulty."""
    if faulty:
        say(f"{plural(len(faulty), 'caption')} still faulty:")
    for name, rules in faulty.items():
        say(f"  {name}: {', '.join(rules)}")


def _follow(services: Services, number: int, as_json: bool, flaws: Flaws, faulty: Faulty) -> events.JobEnded:
    """Show a job until it ends: as JSON, or on standard error as notes, failures and, on a terminal, a bar.

    What is wrong with captions is added to flaws and faulty.
    """
    told: set[str] = set()
    with new_bar(as_json) as bar:
        for event in services.jobs.follow(number):
            if as_json:
                print(json.dumps(event.to_json()), flush=True)
            elif isinstance(event, events.ItemProgress):
                bar.set_postfix_str(_speeds(services.events.snapshot()))
            else:
                show_event(event, bar, "captioning")
            if isinstance(event, events.ReplicaChanged) and not as_json:
                _show_notes(event, bar, told)
            if isinstance(event, events.ItemDone) and event.flaw:
                flaws.setdefault(event.flaw, []).append(event.item)
            if isinstance(event, events.ItemDone | events.ItemSkipped) and event.faults:
                faulty[event.item] = event.faults
            if isinstance(event, events.JobEnded) and event.job == number:
                return event
    raise JobError("the program is closing")


def _show_notes(event: events.ReplicaChanged, bar: Bar, told: set[str]) -> None:
    """Print each note of a worker's report once. told: what was printed already."""
    notes = {f"note: {event.replica}: {text}": None for label, text in event.report if label == "note"}
    for note in notes.keys() - told:
        told.add(note)
        bar.write(printable(note), file=sys.stderr)


def plan_folder(args: argparse.Namespace) -> int:
    """Estimate tokens and time for a folder without captioning it."""
    with Services(args.state, given_settings(args), given_roots(args)) as services:
        notes = services.open_folder(args.folder, services.settings.recursive).scan.warnings
        plan = services.estimate()
    for note in () if args.json else notes:
        say(f"note: {note}", is_note=True)
    if args.json:
        print(json.dumps(asdict(plan) | {"seconds": plan.seconds, "summary": plan.summary(), "notes": notes}))
        return 0
    say(plan.summary())
    print(f"{plural(plan.num_left_alone, 'file')} would be skipped")
    if plan.num_files:
        print(f"visual tokens per file: {plan.median_visual_tokens:,} median, {plan.longest_visual_tokens:,} longest")
        print(f"prompt tokens in total: about {plan.num_prompt_tokens:,}, including visual tokens")
        print(f"longest request: {plan.max_tokens:,} tokens, including its caption")
    return 0
