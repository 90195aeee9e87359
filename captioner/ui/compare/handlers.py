"""The handlers of the dialog of comparisons. Before a vote they send nothing that tells who wrote a caption."""

import itertools
import json
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from captioner.config.presets import PRESETS
from captioner.errors import CaptionerError, JobError
from captioner.formatting import plural, sendable, sentence
from captioner.library.comparisons.ballots import ballots, cast, exported_votes, open_ballots, undo
from captioner.library.comparisons.comparer import Comparer
from captioner.library.comparisons.comparison import Comparison
from captioner.library.comparisons.contenders import changes_to_use, parse_values
from captioner.library.comparisons.result import Row, result_of
from captioner.services import Services

NUM_LISTED = 20
View = dict[str, Any]


class CompareHandlers:
    """Each returns the properties `shown`, what the dialog shows, and `message`. Any thread may call."""

    def __init__(self, services: Services) -> None:
        self._services, self._comparer = services, Comparer(services)
        self._numbers = itertools.count(1)

    def reload(self) -> View:
        """Show the list of comparisons."""
        return self._do(self._home)

    def create(self, event: gr.EventData) -> View:
        """Make a comparison on the open folder and have its contenders caption the files."""

        def act() -> View:
            scan, busy = self._services.library.scan, self._services.events.snapshot().busy
            if scan.folder is None:
                raise JobError("open a folder in the Gallery first")
            if busy:
                raise JobError("a job is running; wait for it to end, or stop it")
            given = [_given(dict(each)) for each in event.contenders]
            made = self._comparer.create(scan.folder, scan.recursive, scan.items, given, _number(event.files))
            self._comparer.start(made.number)
            return self._home() | {"created": made.number}

        return self._do(act)

    def resume(self, event: gr.EventData) -> View:
        """Write the captions that are missing."""

        def act() -> View:
            self._comparer.start(self._checked(event).number)
            return self._home()

        return self._do(act)

    def stop(self) -> View:
        """Stop the comparison that runs."""
        self._comparer.stop()
        return self._do(self._home)

    def ballot(self, event: gr.EventData) -> View:
        """Show the next file to vote on, or the result if there is none."""
        return self._do(lambda: self._vote_view(self._checked(event)))

    def vote(self, event: gr.EventData) -> View:
        """Keep a vote, and show the next file."""

        def act() -> View:
            number, pick = self._checked(event).number, event.pick
            pick = None if pick is None else _number(pick)
            return self._vote_view(
                self._comparer.store.change(number, lambda now: cast(now, str(event.file), pick, str(event.key)))
            )

        return self._do(act)

    def undo(self, event: gr.EventData) -> View:
        """Take the last vote back, and show its file again."""

        def act() -> View:
            comparison = self._checked(event)
            last = comparison.votes[-1].file if comparison.votes else ""
            return self._vote_view(self._comparer.store.change(comparison.number, undo), last)

        return self._do(act)

    def result(self, event: gr.EventData) -> View:
        """Show the ranking, which names the contenders."""
        return self._do(lambda: _result_view(self._checked(event)))

    def votes(self, event: gr.EventData) -> View:
        """Return the votes as JSON lines for a download."""

        def act() -> View:
            comparison = self._checked(event)
            lines = "".join(f"{json.dumps(row)}\n" for row in exported_votes(comparison))
            return _result_view(comparison) | {"votes": lines}

        return self._do(act)

    def use(self, event: gr.EventData) -> View:
        """Make the settings of a contender those of the app."""

        def act() -> View:
            comparison, services = self._checked(event), self._services
            index = _number(event.contender)
            if not 0 <= index < len(comparison.contenders):
                raise JobError("there is no such contender")
            contender = comparison.contenders[index]
            if changes := changes_to_use(contender, services.settings, services.prompts):
                services.change_settings(changes)
            return _result_view(comparison) | {"said": f"The next job uses “{contender.name}”."}

        return self._do(act)

    def delete(self, event: gr.EventData) -> View:
        """Delete a comparison, with its captions and votes."""

        def act() -> View:
            number = self._checked(event).number
            self._comparer.delete(number)
            return self._home() | {"deleted": number, "said": f"Comparison {number} deleted."}

        return self._do(act)

    def restore(self, event: gr.EventData) -> View:
        """Bring a deleted comparison back."""

        def act() -> View:
            number = _number(event.number)
            self._comparer.store.restore(number)
            return self._home() | {"said": f"Comparison {number} restored."}

        return self._do(act)

    def _do(self, act: Callable[[], View]) -> View:
        """Return what `act` shows, or its error as the message."""
        try:
            shown = act()
        except CaptionerError as error:
            message = {"text": sendable(sentence(str(error))), "bad": True, "number": next(self._numbers)}
            return gr.update(message=message)
        message = {"text": sendable(shown.pop("said", "")), "bad": False, "number": next(self._numbers)}
        return gr.update(shown={**shown, "turn": next(self._numbers)}, message=message)

    def _checked(self, event: gr.EventData) -> Comparison:
        """Return the comparison of an event. Raise JobError, and FolderError if its folder is not allowed."""
        comparison = self._comparer.store.get(_number(event.number))
        self._services.roots.resolve(comparison.folder_path)
        return comparison

    def _home(self) -> View:
        library, allows = self._services.library, self._services.roots.allows
        listed = [each for each in self._comparer.store.newest(NUM_LISTED) if allows(each.folder_path)]
        return {
            "view": "home",
            "folder": sendable(library.folder.name or str(library.folder)) if library.folder else "",
            "files": len(library.items),
            "prompts": [prompt.name for prompt in self._services.prompts.list()],
            "models": [(preset.key, preset.title) for preset in PRESETS],
            "running": self._comparer.running,
            "rows": [self._row(each) for each in listed],
        }

    def _row(self, comparison: Comparison) -> View:
        """Return a row of the list. It names no contender: its files may be voted on after it was seen."""
        is_running, count = comparison.number == self._comparer.running, len(comparison.contenders)
        num_ballots, num_open = len(ballots(comparison)), len(open_ballots(comparison))
        failed = [each.problem for each in comparison.contenders if each.problem]
        state = (
            self._comparer.doing if is_running else f"{num_ballots - num_open:,} of {plural(num_ballots, 'file')} voted"
        )
        return {
            "number": comparison.number,
            "when": comparison.created_at_s,
            "folder": sendable(comparison.folder_path.name or comparison.folder),
            "about": f"{plural(count, 'contender')} on {plural(len(comparison.files), 'file')}",
            "state": state,
            "left": 0 if is_running else comparison.num_left,
            "open": 0 if is_running else num_open,
            "voted": 0 if is_running else len(comparison.votes),
            "running": is_running,
            "problem": f"{plural(len(failed), 'contender')} did not caption all files" if failed else "",
        }

    def _vote_view(self, comparison: Comparison, file: str = "") -> View:
        """Return the ballot of a file, or of the next one; the result if all are voted on."""
        waiting = open_ballots(comparison)
        if self._comparer.running == comparison.number:
            raise JobError("the captions are still being written; vote when all are there")
        if not waiting:
            if not ballots(comparison) and not comparison.votes:
                raise JobError("there is no file with two different captions to choose from")
            return _result_view(comparison)
        ballot = next((each for each in waiting if each.file.name == file), waiting[0])
        position = comparison.files.index(ballot.file)
        return {
            "view": "vote",
            "number": comparison.number,
            "file": ballot.file.name,
            "kind": ballot.file.kind,
            "media": f"compare/{comparison.number}/{position}",
            "texts": list(ballot.texts),
            "key": ballot.key,
            "done": len(ballots(comparison)) - len(waiting),
            "total": len(ballots(comparison)),
            "undo": bool(comparison.votes),
        }


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a contender of the form sets: its fields, and others written as NAME=VALUE."""
    fields = {name: str(values.get(name) or "").strip() for name in ("name", "model", "prompt_name")}
    return {name: value for name, value in fields.items() if value} | parse_values(str(values.get("more") or ""))


def _number(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise JobError("give a whole number") from None


def _result_view(comparison: Comparison) -> View:
    result = result_of(comparison)
    return {
        "view": "result",
        "number": comparison.number,
        "summary": result.summary(),
        "counts": ", ".join(
            f"{count:,} {word}"
            for count, word in (
                (result.num_votes, "voted"),
                (result.num_skipped, "skipped"),
                (result.num_same, "with the same captions"),
                (result.num_open, "to vote on"),
            )
            if count
        ),
        "open": result.num_open,
        "rows": [_shown(row) for row in result.rows],
    }


def _shown(row: Row) -> View:
    differing = {name: value for name, value in row.differing.items() if name != "prompt"}  # its text is shown apart
    settings = [f"{name} = {_setting(value)}" for name, value in differing.items() if value != ""]
    place = row.place
    return {
        "index": row.index,
        "name": sendable(row.name),
        "settings": sendable(" · ".join(settings)),
        "prompt": sendable(row.prompt),
        "chance": place.chance if place else None,
        "low": place.low if place else None,
        "high": place.high if place else None,
        "picked": row.num_picked,
        "cost": row.cost,
        "problem": sendable(row.problem or (f"{plural(row.num_failed, 'file')} failed" if row.num_failed else "")),
    }


def _setting(value: Any) -> str:
    return "auto" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
