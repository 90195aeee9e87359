"""Rules of what a model does wrong in any language: it repeats itself, is cut off, thinks, echoes, talks."""

import re
from collections.abc import Iterator

from captioner.captions.flaws import loops, may_stutter
from captioner.captions.text import remove_chat
from captioner.dataset.lint.draft import Draft
from captioner.dataset.lint.finding import Hit, LintOptions
from captioner.dataset.lint.phrases import phrase_hits
from captioner.marks import split_thinking

LOOP_SHOWN, CUT_SHOWN, MIN_FRAGMENT = 120, 60, 4
_WORD = re.compile(r"[^\W_]+")
_THINKING = re.compile(
    r"</?(?:[a-z_]+:)?(?:think|thinking|reasoning|thought)s?>|\[/?THINK\]|◁/?think▷|<\|(?:channel|/?think|START_THINK)|<unused9",
    re.IGNORECASE,
)
# The last word of a sentence that was not finished. Words that may end one ("zooms in") are left out.
_OPEN_END = re.compile(
    r"(?<![\w'’-])(?:the|an?|and|or|of|with|from|as|but|which|who|whose|into|onto|upon|its|their|are|was|were|has|have"
    r"|been|being|very|than|toward|towards|against|beside|during|because|while|although|wearing|holding"
    r"|und|oder|der|das|den|dem|des|ein|eine|einen|einem|einer|mit|von|zum|zur|im|für|während|sich|sein|seine|ihre"
    r"|et|ou|le|les|un|une|du|aux|avec|dans|sur|qui|que|leur|vers|sous|y|el|los|las|del|con|una|por|para|su|sus"
    r"|и|или|в|на|с|со|к|из|от|для|что|который|которая|которые|его|под|над|por|della|degli|dei|nel|nella|che|per)$"
)
# A letter at the end that names something.
_NAMED_LETTER = re.compile(
    r"\b(?:axis|batch|block|chord|class|exhibit|exit|figure|gate|grade|group|hall|key|level|letter|line|model|note|option"
    r"|part|plan|platform|point|position|row|section|series|side|stage|tab|team|terminal|track|type|unit|vitamin|zone)\W+\w$",
    re.IGNORECASE,
)
_SPANISH = re.compile(r"\b(?:el|la|los|las|un|una|con|de|en|sobre)\b", re.IGNORECASE)
_STUTTER_PATTERN = r"\b([^\W\d_]{2,40}+)(?:\W{1,3}\1\b){6,}"
_STUTTER = re.compile(_STUTTER_PATTERN, re.IGNORECASE)
_ASCII_STUTTER = re.compile(_STUTTER_PATTERN, re.IGNORECASE | re.ASCII)  # finds the same in such a text, but faster
_OPEN_MARK = re.compile(r"[,;:，、；：(\[{（「『“„–—]$|(?<=\w)-$")
_USUAL_ENDS = tuple(".!?")  # some of those that _ENDED finds, which takes longer
_ENDED = re.compile(r"(?:[.!?…。！？]|\.\.\.)[\"'”’»)\]）」』》\x00\s]*$|[\"”’»)\]）」』》>\x00]$")
_STYLE = re.compile(
    r"(?:shot|filmed|style|cinematic|photo|photographed|captured|high|ultra|realistic|render|digital|masterpiece|best"
    r"|4k|8k|hd|\d|in the style|anime|soft|natural|warm|slow|close|wide|medium|static|by |art|illustration|camera)",
    re.IGNORECASE,
)


def find_loop(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find captions that repeat a phrase over and over."""
    pattern = _ASCII_STUTTER if draft.text.isascii() else _STUTTER
    if may_stutter(draft.text) and (stutter := pattern.search(draft.text)):
        yield Hit("loop", *stutter.span(), "it repeats a word over and over")
    elif loops(draft.text):
        end = len(draft.text.rstrip())
        yield Hit("loop", max(0, end - LOOP_SHOWN), end, "it repeats the same words over and over")


def find_cut(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find captions that were cut off, as the job has noted or as their end tells."""
    if draft.flaw.startswith("was cut off"):
        yield _cut(draft, f"it {draft.flaw}")
    elif draft.text and (draft.form is None or draft.form.name != "json") and _is_open(draft):
        yield _cut(draft, "it ends in mid sentence")


def _cut(draft: Draft, why: str) -> Hit:
    end = len(draft.text.rstrip())
    return Hit("cut", max(draft.sentences[-1] if draft.sentences else 0, end - CUT_SHOWN), end, why)


def _is_open(draft: Draft) -> bool:
    text = draft.plain.rstrip()
    if text.endswith(_USUAL_ENDS) or _ENDED.search(text):
        return False
    if (end := _OPEN_END.search(text)) and (len(end[0]) > 1 or not _is_letter(draft, text)):
        return True
    if draft.has_tags:
        return False
    if _OPEN_MARK.search(text) or _has_open_quote(draft.text):
        return True
    if not draft.sentences:
        return False
    rest = text[draft.sentences[-1] :].lstrip("\"'”’) \n\x00")
    if not rest or _STYLE.match(rest) or (":" in rest[:30] and draft.form):
        return False
    if draft.text[draft.sentences[-1] - 1] in "。！？":
        return len(rest) >= MIN_FRAGMENT
    return len(rest.split()) >= MIN_FRAGMENT and rest[:1].isupper()


def _is_letter(draft: Draft, text: str) -> bool:
    """Return whether the last letter of a text stands for itself, as in "vitamin a"."""
    is_foreign = text.endswith("y") and not _SPANISH.search(text)
    return draft.has_tags or is_foreign or bool(_NAMED_LETTER.search(text))


def _has_open_quote(text: str) -> bool:
    """Return whether the last quote or bracket is not closed."""
    for opens, closes in (("“", "”"), ("「", "」"), ("(", ")"), ("<d>", "</d>"), ("（", "）")):
        if text.rfind(opens) > text.rfind(closes):
            return True
    return text.count('"') % 2 == 1 and not re.search(r"\d\s?\"", text)


def find_refusal(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find refusals and answers to the user."""
    yield from phrase_hits(draft, "refusal")


def find_thinking(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find reasoning that was left in a caption, with or without its marks."""
    mark = _THINKING.search(draft.text)
    if mark and split_thinking(draft.text).text != draft.text:
        yield Hit("thinking", mark.start(), mark.end(), "it has a mark of thinking")
    yield from phrase_hits(draft, "thinking")


def find_echo(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find instructions, and many words in a row that stand in a prompt."""
    yield from phrase_hits(draft, "prompt-echo")
    wanted = max(3, int(options.value("prompt-echo")))
    known = _groups(options.prompts, wanted)
    if not known:
        return
    texts = _WORD.findall(draft.lower)
    groups = list(zip(*(texts[k:] for k in range(wanted)), strict=False))
    if not known.isdisjoint(groups):
        i = next(i for i, group in enumerate(groups) if group in known)
        words = list(_WORD.finditer(draft.lower))
        start, end = words[i].start(), words[i + wanted - 1].end()
        yield Hit("prompt-echo", start, end, f"{wanted} words in a row stand in the prompt")


_known_groups: dict[tuple[tuple[str, ...], int], frozenset[tuple[str, ...]]] = {}


def _groups(prompts: tuple[str, ...], length: int) -> frozenset[tuple[str, ...]]:
    """Return the groups of words in prompts that captions must not have; each prompt is taken apart once."""
    key = (prompts, length)
    if key not in _known_groups:
        groups = set()
        for prompt in prompts:
            words = _WORD.findall(prompt.lower())
            groups |= {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}
        _known_groups.clear()
        _known_groups[key] = frozenset(groups)
    return _known_groups[key]


def find_preamble(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find talk before and behind the caption."""
    before = draft.text[draft.body :]
    after = remove_chat(before)
    if len(after) < len(before) and before.endswith(after) and draft.form is None:
        yield Hit("preamble", draft.body, draft.body + len(before) - len(after), "it talks before the caption")
        return
    yield from phrase_hits(draft, "preamble")


def find_opener(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find openers such as "The video shows"."""
    yield from phrase_hits(draft, "opener")


def find_hedging(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find guesses."""
    yield from phrase_hits(draft, "hedging")


def find_negative(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find what a caption says is not there."""
    if not draft.has_tags:  # "no humans" is a tag
        yield from phrase_hits(draft, "negative")


def find_sound(draft: Draft, options: LintOptions) -> Iterator[Hit]:
    """Find sound in captions of files without any."""
    if draft.facts.is_silent:
        yield from phrase_hits(draft, "sound")
