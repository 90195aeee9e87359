"""The command `score`: how well captions agree with their media, as the model judges."""

import argparse
import json
import statistics
from collections.abc import Sequence

from captioner.captions.scores import Score
from captioner.cli.bar import new_bar
from captioner.cli.command import STOPPED_BY_USER, Commands, add_command, given_roots
from captioner.cli.job_bar import show_event
from captioner.cli.setting_options import add_settings, given_settings
from captioner.cli.streams import say
from captioner.errors import CaptionerError, JobError
from captioner.formatting import plural
from captioner.jobs import events
from captioner.library.scoring import score_captions
from captioner.services import Services
from captioner.values import MediaItem

SHOWN_CHARACTERS = 100  # of a caption
UNSURE = 0.5  # of yes and no together: below, the model would say something else
Scored = tuple[MediaItem, str, Score]


def add_score(commands: Commands) -> None:
    """Add `score`."""
    example = "captioner score clips --model qwen3-vl-8b\ncaptioner score clips --worst 50 --json"
    parser = add_command(commands, "score", score_folder, "FOLDER", example)
    add_settings(parser)
    add = parser.add_argument_group("output").add_argument
    add("--worst", type=int, default=20, metavar="N", help="print so many captions; 0: all (default: %(default)s)")
    add("--json", action="store_true", help="print one caption per line as JSON")


def score_folder(args: argparse.Namespace) -> int:
    """Let the model judge whether captions agree with their media, and print the worst first."""
    if args.worst < 0:
        raise CaptionerError(f"--worst {args.worst} is less than 0")
    with Services(args.state, given_settings(args), given_roots(args)) as services:
        found = services.open_folder(args.folder, services.settings.recursive)
        for note in found.scan.warnings:
            say(f"note: {note}", is_note=True)
        preset = services.preset()
        number = score_captions(services.library, services.jobs, services.settings, preset)
        try:
            ended = _follow(services, number, args.json) if number else None
        except KeyboardInterrupt:
            services.jobs.stop()
            say("stopped; what is scored is kept, and scoring again does the rest", is_note=True)
            return STOPPED_BY_USER
        scored = [each for each in services.library.lookup.scored() if each[2].model == preset.title]
    if ended and ended.outcome == "failed" and not ended.done:
        raise JobError(ended.reason)
    _print(scored, scored[: args.worst or None], args.json)
    if ended and ended.outcome == "failed":
        say(f"error: {ended.reason}", is_note=True)
    return int(bool(ended and (ended.failed or ended.outcome == "failed")))


def _follow(services: Services, number: int, as_json: bool) -> events.JobEnded:
    """Show a job until it ends, on standard error."""
    with new_bar(as_json) as bar:
        for event in services.jobs.follow(number):
            show_event(event, bar, "scoring")
            if isinstance(event, events.JobEnded) and event.job == number:
                return event
    raise JobError("the program is closing")


def _print(scored: Sequence[Scored], worst: Sequence[Scored], as_json: bool) -> None:
    for item, text, score in worst:
        if as_json:
            values = {"file": item.name, "score": round(score.yes, 6), "no": round(score.no, 6), "model": score.model}
            print(json.dumps(values | {"text": text}))
        else:
            line = " ".join(text.split())
            more = "…" if len(line) > SHOWN_CHARACTERS else ""
            say(f"{score.yes:.3f}  {item.name}: {line[:SHOWN_CHARACTERS]}{more}")
    if as_json:
        return
    if not scored:
        say("no captions to score", is_note=True)
        return
    median = statistics.median(score.yes for _, _, score in scored)
    say(f"{plural(len(scored), 'caption')} scored by {scored[0][2].model}, median {median:.3f}")
    sure = statistics.median(score.yes + score.no for _, _, score in scored)
    if sure < UNSURE:
        say(f"note: the model seldom answers yes or no ({sure:.0%}), so its scores say little", is_note=True)
