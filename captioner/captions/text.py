"""Turns model output into the plain text of a caption, with pure functions. Text that may be intended is left alone."""

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

from captioner.marks import cut_at_turn_end, split_thinking

_SPECIAL_TOKEN = re.compile(
    r"<\|[\w\"/-]{1,40}\|?>"  # <|im_end|>, <|turn>
    r"|<[\w\"/-]{1,40}\|>"  # <turn|>
    r"|<｜[^｜<>]{1,40}｜>"
    r"|</?s>|<(?:pad|unk|bos|eos|mask|image|video)>"
    r"|<(?:start_of_turn|end_of_turn|end_of_utterance|fake_token_around_image|global-img)>"
    r"|\[/?INST\]"
)

_MARKDOWN = re.compile(r"[`~#*_•]|^[ \t]*-", re.MULTILINE)  # without which there is none
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w-]*[ \t]*$", re.MULTILINE)
_HEADING = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+)+(?=\S)", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*([-*_])(?:[ \t]*\1){2,}[ \t]*$", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*[-*•][ \t]+(?=\S)", re.MULTILINE)
# Emphasis touches its words but not the words around it, unlike 5*3*2 or 2 * 3 * 4.
_STARS = re.compile(r"(?<![A-Za-z0-9*])(\*{1,3})(?=[^\s*])([^*\n]*?)(?<=[^\s*])\1(?![A-Za-z0-9*])")
# Only around several words, since _sks_ or __init__ may be a trigger word.
_UNDERSCORES = re.compile(r"(?<!\w)(_{1,2})(?=[^\s_])([^_\n]* [^_\n]*)(?<=[^\s_])\1(?!\w)")

_ROLE = re.compile(r"^\s*(?:assistant\s*(?::|\n)|model\s*\n)\s*", re.IGNORECASE)
_NOUN = r"(?:caption|description|summary|paragraph|sentence|tags|prompt|answer|response|overview|list of tags)"
_ADJECTIVE = (
    r"(?:(?:detailed|brief|short|long|concise|comprehensive|descriptive|simple|plain|vivid|precise|accurate|literal|full"
    r"|single|one|two|three|four|five|possible|suggested|requested|revised|final|new|training|video|image|clip|scene"
    r"|one-paragraph|single-paragraph|one-sentence|comma-separated|step-by-step)[ ,]+)"
)
_LABEL = re.compile(rf"^\s*(?:the )?{_ADJECTIVE}{{0,3}}{_NOUN}\s*(?::|\n)\s*", re.IGNORECASE)
_PLEASANTRY = r"(?:(?:sure|certainly|absolutely|of course|okay|ok|yes|great)(?: thing)?\s*[!,.:]+\s*)"
_INTRODUCTION = re.compile(
    rf"^\s*{_PLEASANTRY}?(?:here(?:['’]s| is| are)|below is|this is|the following is)\s+"
    rf"(?:(?:a|an|the|my|your|some)\s+)?{_ADJECTIVE}{{0,5}}{_NOUN}"
    r"(?:\s+(?:of|for|based on|that|which|describing|summarizing|suitable|in|with|as|to|you)\b[^.:!?\n]{0,120})?"
    r"\s*(?::|[.!]?\s*\n)\s*",
    re.IGNORECASE,
)
_BARE_PLEASANTRY = re.compile(r"^\s*(?:sure|certainly|absolutely|of course)(?: thing)?!\s+(?=\S)", re.IGNORECASE)

_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "「": "」", "『": "』", "`": "`"}
_CONTRACTION = re.compile(r"(?<=\w)['’](?=\w)")

# Controls and lone surrogates, zero-width space, line and paragraph separators, byte order mark, lost characters.
_INVISIBLE = re.compile("[\\s\x00-\x1f\x7f-\x9f\ud800-\udfff\u200b\u2028\u2029\ufeff\ufffd]+")
_JOINERS = re.compile("[\u00ad\u200c\u200d\u2060]+")


def remove_thinking(text: str) -> str:
    """Remove <think>...</think>, text before a lone </think>, and text after a <think> that never ends."""
    return split_thinking(text).text


def remove_special_tokens(text: str) -> str:
    """Remove tokens of chat templates, such as <|im_end|>, <end_of_turn> and </s>."""
    return _SPECIAL_TOKEN.sub(" ", text)


def remove_markdown(text: str) -> str:
    """Remove the marks of fences, headings, rules, lists of several lines, bold and italics, but not their words."""
    if not _MARKDOWN.search(text):
        return text
    text = _HEADING.sub("", _RULE.sub("", _FENCE.sub("", text).replace("```", " ")))
    if len(_BULLET.findall(text)) > 1:
        text = _BULLET.sub("", text)
    return _UNDERSCORES.sub(r"\2", _STARS.sub(r"\2", text))


def remove_chat(text: str) -> str:
    """Remove "assistant:", "Sure! Here is a caption:", "Caption:" and similar openings.

    Only a fixed list of nouns and adjectives before a colon or line end counts, so that "Here a man: ..." stays.
    """
    for pattern in (_ROLE, _INTRODUCTION, _LABEL, _BARE_PLEASANTRY):
        if found := pattern.match(text):  # which fails sooner than looking for one, since all begin with ^
            text = text[found.end() :]
    return text


def remove_quotes(text: str) -> str:
    """Remove a pair of quotes around the whole text; `"Go" says the "Stop" sign's neighbor "Tom"` stays."""
    text = text.strip()
    if len(text) < 2 or _QUOTES.get(text[0]) != text[-1]:
        return text
    inner = text[1:-1]
    rest = _CONTRACTION.sub("", inner) if text[0] in "'‘" else inner
    return text if text[0] in rest or text[-1] in rest else inner.strip()


def one_line(text: str) -> str:
    """Join the text into one stripped line: line breaks, tabs, controls, zero-width spaces and U+FFFD become spaces.

    Joiners stay between non-ASCII letters and emoji, which need them; others are removed.
    """
    if text.isascii() and text.isprintable() and "  " not in text:  # as most captions are
        return text.strip()
    return _INVISIBLE.sub(" ", _JOINERS.sub(_keep_joiner, _INVISIBLE.sub(" ", text))).strip()


def keep_lines(text: str) -> str:
    """Apply `one_line` to each line; a blank line stays between paragraphs, but not two."""
    lines = "\n".join(one_line(line) for line in text.splitlines())
    return re.sub(r"\n{3,}", "\n\n", lines).strip()


def _keep_joiner(match: re.Match[str]) -> str:
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    return match.group() if before > "\x7f" and after > "\x7f" else ""


def is_blank(text: str) -> bool:
    """Return whether the text is empty or holds only spaces, controls and zero-width characters."""
    return not any(character.isprintable() and not character.isspace() for character in text)


Step = Callable[[str], str]


@functools.lru_cache(maxsize=16)  # an answer is cleaned several times in a row
def clean(text: str) -> str:
    """Return the caption in a model's output as one line; "" if there is none. clean(clean(x)) == clean(x)."""
    return clean_with(text, remove_special_tokens, remove_markdown, remove_chat, remove_quotes, one_line)


def clean_with(text: str, *steps: Step) -> str:
    """Return the caption in a model's output: without thinking and later turns, and after these steps.

    The steps are repeated until nothing changes, since one leftover can hide another. No step makes the text longer.
    """
    before = None
    while text != before:
        before = text
        for step in (remove_thinking, cut_at_turn_end, *steps):
            text = step(text)
    return "" if is_blank(text) else text


# No space belongs after _OPENS at the end of a prefix, nor before _CLOSES at the start of a suffix. A straight quote
# opens if nothing or a space is before it, and closes if no word follows.
_WIDE = "\u3000-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40"
_OPENS = re.compile(rf"(?:[(\[{{‘“«‹¿¡{_WIDE}]|(?:^|\s)[\"'`])$")
_CLOSES = re.compile(rf"[,.;:!?%)\]}}’”»›…{_WIDE}]|[\"'`](?!\w)")


class Decoration(NamedTuple):
    """The texts that are added to every caption of a job; each is one line or empty."""

    trigger: str = ""
    prefix: str = ""
    suffix: str = ""


def decorate(text: str, decoration: Decoration) -> str:
    """Return "trigger, prefix text suffix" as one line.

    The trigger word is left out if the caption already holds it as a whole word, in any case.
    """
    trigger, prefix, suffix = decoration.trigger.strip(), decoration.prefix, decoration.suffix
    text = one_line(surround(text, prefix, suffix))
    return text if holds_word(text, trigger) else f"{trigger}, {text}"


def holds_word(text: str, word: str) -> bool:
    """Return whether a text holds a trigger word as a whole word, in any case; True for no word."""
    word = word.strip()
    return not word or bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE))


def surround(text: str, prefix: str = "", suffix: str = "") -> str:
    """Return prefix, text and suffix, separated by one space.

    There is no space where there is one already, after a prefix that ends with an opening bracket or quote, or before a
    suffix that starts with closing punctuation such as ", high quality", "." or full-width punctuation.
    """
    text = _attach(prefix, text, tight=bool(_OPENS.search(prefix)))
    return _attach(text, suffix, tight=bool(_CLOSES.match(suffix)))


def _attach(first: str, second: str, tight: bool) -> str:
    spaced = not first or not second or first[-1].isspace() or second[0].isspace()
    return first + second if spaced or tight else f"{first} {second}"
