"""The labelled corpus of the linter: captions with a fault (faulty.txt) and without (clean.txt), written for it."""

from dataclasses import dataclass, replace
from pathlib import Path

from captioner.dataset.lint.finding import Finding, LintOptions
from captioner.dataset.lint.lint import Linted, lint_set, lint_text
from captioner.dataset.targets import target
from captioner.dataset.token_limit import TokenLimit
from captioner.values import Measured, MediaFacts

HERE = Path(__file__).parent
PROMPT = (
    "Name the subject first, then its clothes and the place around it. Say what moves and how it moves from the first "
    "frame to the last."
)
BETWEEN = " ||| "


@dataclass(frozen=True)
class Entry:
    """One line. rules: those that have to find something in each caption, or in the last one of near-duplicates."""

    rules: tuple[str, ...]
    settings: str
    captions: tuple[tuple[str, str], ...]  # (name of the media file, text)

    def findings(self) -> list[Finding]:
        options, facts, flaw = self._context()
        linted = [Linted(name, text, lint_text(text, options, facts, flaw)) for name, text in self.captions]
        return lint_set(linted, options)

    def _context(self) -> tuple[LintOptions, MediaFacts, str]:
        words = self.settings.replace("Lena Fox", "Lena_Fox").split()
        given = dict(word.split("=") for word in words if "=" in word)
        chosen = target(given.get("target", "none"))
        if "limit" in given:
            chosen = replace(chosen, token_limit=int(given["limit"]))
        has_sound = {"silent": False, "sound": True}
        sound = next((has_sound[word] for word in words if word in has_sound), None)
        duration_s = float(given["duration"]) if "duration" in given else None
        camera = tuple(given["camera"].replace("-", " ").split("+")) if "camera" in given else ()
        cuts_s = tuple(float(number + 1) for number in range(int(given.get("cuts", 0))))
        measured = Measured(camera, cuts_s, step_s=0.5) if camera or "cuts" in given else None
        facts = MediaFacts(duration_s=duration_s, has_sound=sound, is_still="still" in words, measured=measured)
        trigger = given.get("trigger", "").replace("_", " ")
        options = LintOptions(TokenLimit(chosen), trigger, (PROMPT,))
        return options, facts, "was cut off at 512 tokens" if "flaw" in words else ""


def entries(name: str) -> list[Entry]:
    """Return the entries of faulty.txt or clean.txt."""
    found = []
    for line in (HERE / f"{name}.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        *before, text = line.split(";;")
        rules, settings = ("", before[0]) if name == "clean" else before
        texts = [part.strip().replace("\\n", "\n") for part in text.strip().split(BETWEEN)]
        named = [part.partition("=") if "=" in part[:30] else (f"{i}.mp4", "", part) for i, part in enumerate(texts)]
        captions = tuple((stem, caption) for stem, _, caption in named)
        found.append(Entry(tuple(filter(None, rules.strip().split(","))), settings.strip(), captions))
    return found


def is_held_back(number: int) -> bool:
    """Return whether an entry was not looked at while the rules were written."""
    return number % 3 == 0
