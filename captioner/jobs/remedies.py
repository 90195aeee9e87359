"""Remedies for the faults of a caption, to be used when the model is asked about its file again.

Faults are named as the rules of the linter; `number` counts the faulty captions so far.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from captioner.captions.forms.base import Form
from captioner.dataset.lint.finding import rules
from captioner.values import GenerationOptions, SamplePlan

EMPTY = "empty"  # which is no rule of the linter: such an answer is not written
PRESENCE_PENALTY = 1.5  # what Qwen recommends against endless repetition; more tokens would only repeat more
TEMPERATURE, TOP_P = 0.7, 0.9  # of another answer to the same question
BY_CHANCE = frozenset({EMPTY, "refusal", "thinking", "preamble", "hedging", "script", "near-duplicate", "swapped"})
LENGTHY = frozenset({"loop", "cut"})  # a word about it comes late: at first, the same answer may be finished
MIN_FRAMES = 2
SHOWN_PROBLEMS = 5
NOTE_LENGTH = 800  # characters of what is told about the form, at most


def longest_options(options: GenerationOptions, is_longer: bool) -> GenerationOptions:
    """Return the options of the longest caption that a job may ask for."""
    return replace(options, max_new_tokens=2 * options.max_new_tokens) if is_longer else options


def longest_note(form: Form) -> str:
    """Return a text as long as what a second question adds to the prompt."""
    return f"{form.reminder}{'x' * NOTE_LENGTH}" if form.reminder else ""


def all_notes(trigger: str) -> str:
    """Return everything that a repair may tell the model about faults."""
    return " ".join(_notes(list(rules()), trigger))


def options_against(
    faults: Collection[str], number: int, options: GenerationOptions, may_be_longer: bool
) -> GenerationOptions:
    """Return the options for the next try. may_be_longer: there is room for twice the tokens."""
    if "loop" in faults:
        options = replace(options, presence_penalty=max(options.presence_penalty, PRESENCE_PENALTY))
    if "cut" in faults and (number > 1 or "loop" not in faults):
        options = longest_options(options, may_be_longer)
    if number == 1 and BY_CHANCE.isdisjoint(faults):
        return options
    if options.temperature < TEMPERATURE:
        options = replace(options, temperature=TEMPERATURE, top_p=min(options.top_p, TOP_P))
    return replace(options, seed=options.seed + number)


def plan_against(faults: Collection[str], number: int, plan: SamplePlan) -> SamplePlan:
    """Return the frames for the next try: half of them if a caption is too long again, as where it lists frames."""
    if number == 1 or LENGTHY.isdisjoint(faults):
        return plan
    most = max(MIN_FRAMES, plan.max_frames // 4 * 2)
    return replace(plan, max_frames=most, min_frames=min(plan.min_frames, most))


def note_against(faults: Sequence[str], number: int, problems: Sequence[str], form: Form, trigger: str) -> str:
    """Return what to tell the model behind the prompt, or "". problems: what was wrong with the form, in words."""
    told = [fault for fault in faults if fault not in LENGTHY or number > 1 or problems]
    notes = list(dict.fromkeys(_notes(told, trigger)))
    if problems:
        wrong = "; ".join(f"it {problem}" for problem in problems[:SHOWN_PROBLEMS])[: NOTE_LENGTH // 2]
        return " ".join([f"An earlier answer could not be used: {wrong}.", *notes, form.reminder])
    return " ".join(["An earlier answer could not be used.", *notes]) if notes else ""


def _notes(faults: Sequence[str], trigger: str) -> list[str]:
    notes = [rules()[fault].note for fault in faults if fault in rules()]
    return [note.replace("{trigger}", trigger) for note in notes if note]
