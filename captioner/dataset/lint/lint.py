"""Lints captions: each one by itself, then what only shows in the whole set. Reads no disk."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from captioner.dataset.lint import measured_rules, target_rules, text_rules
from captioner.dataset.lint.draft import Draft
from captioner.dataset.lint.finding import Finding, Hit, LintOptions, finding, rules
from captioner.dataset.lint.near import near_duplicates
from captioner.dataset.lint.phrases import has_phrase
from captioner.dataset.lint.scripts import find_script, foreign_captions, script_of
from captioner.dataset.lint.swapped import swapped
from captioner.values import UNKNOWN_FACTS, MediaFacts

CHECKS: dict[str, Callable[[Draft, LintOptions], Iterator[Hit]]] = {
    "loop": text_rules.find_loop,
    "cut": text_rules.find_cut,
    "refusal": text_rules.find_refusal,
    "thinking": text_rules.find_thinking,
    "prompt-echo": text_rules.find_echo,
    "preamble": text_rules.find_preamble,
    "opener": text_rules.find_opener,
    "hedging": text_rules.find_hedging,
    "negative": text_rules.find_negative,
    "sound": text_rules.find_sound,
    "camera": measured_rules.find_camera,
    "cuts": measured_rules.find_cuts,
    "script": find_script,
    "trigger-missing": target_rules.find_missing_trigger,
    "trigger-position": target_rules.find_late_trigger,
    "trigger-near": target_rules.find_near_trigger,
    "over-limit": target_rules.find_long,
    "form": target_rules.find_form,
}


class Linted(NamedTuple):
    """A caption of a set with the hits of the rules that need no other caption. name: of its media file."""

    name: str
    text: str
    hits: Sequence[Hit]


def lint_text(text: str, options: LintOptions, facts: MediaFacts = UNKNOWN_FACTS, flaw: str = "") -> list[Hit]:
    """Return what is wrong with one caption. flaw: what the job that wrote it has noted; see captions/flaws."""
    return lint_draft(draft_of(text, options, facts, flaw), options)


def draft_of(text: str, options: LintOptions, facts: MediaFacts = UNKNOWN_FACTS, flaw: str = "") -> Draft:
    """Return a caption as the rules see it."""
    return Draft(text, options.trigger, facts, flaw, is_tags=options.limit.target.form == "tags")


def lint_draft(draft: Draft, options: LintOptions) -> list[Hit]:
    """Return what is wrong with one caption; nothing if it is empty, which the doctor finds."""
    wanted = [rule for rule in CHECKS if rule in options.chosen and draft.text]
    return [hit for rule in wanted for hit in CHECKS[rule](draft, options)]


def lint_alone(
    name: str, text: str, options: LintOptions, facts: MediaFacts = UNKNOWN_FACTS, flaw: str = ""
) -> list[Finding]:
    """Return what is wrong with one caption, told without the others of its set; the script is that of the options."""
    return lint_set([Linted(name, text, lint_text(text, options, facts, flaw))], options)


def needs_facts(draft: Draft) -> bool:
    """Return whether what is wrong with a caption depends on its media file."""
    return draft.form is not None or has_phrase(draft, "sound")


def lint_set(captions: Sequence[Linted], options: LintOptions) -> list[Finding]:
    """Return all findings of a set, file by file, each in the order of the rules."""
    more: list[list[Hit]] = [[] for _ in captions]
    texts = [caption.text for caption in captions]
    if "script" in options.chosen:
        for i, hit in foreign_captions([script_of(text) for text in texts], options).items():
            more[i].append(hit)
    if "near-duplicate" in options.chosen:
        for i, other, share in near_duplicates(texts, options.value("near-duplicate")):
            what = "the same as" if share == 1 else f"{share:.0%} the same as"
            more[i].append(Hit("near-duplicate", 0, len(texts[i]), f"it is {what} that of {captions[other].name}"))
    if "swapped" in options.chosen:
        for i, other in swapped([caption.name for caption in captions], texts):
            why = f"the name of the file fits the caption of {captions[other].name} instead"
            more[i].append(Hit("swapped", 0, len(texts[i]), why))
    ranks = {name: number for number, name in enumerate(rules())}
    found = []
    for caption, others in zip(captions, more, strict=True):
        hits = sorted([*caption.hits, *others], key=lambda hit: (ranks[hit.rule], hit.start))
        found += [finding(caption.name, caption.text, hit) for hit in hits]
    return found
