"""Model output -> one plain line of caption. Pure functions; what a person might have meant is left alone."""

import re
from typing import NamedTuple

# A block, then the end of one whose start is missing, then one that was cut off before its end. Gemma 4 names
# its thinking a channel.
_THINKING = (
    re.compile(r"<(think|thinking|thought)>(?:(?!<\1>).)*?</\1>", re.DOTALL | re.IGNORECASE),
    re.compile(r"<\|channel>\s*thought\b(?:(?!<\|channel>).)*?<channel\|>", re.DOTALL | re.IGNORECASE),
    re.compile(r"^.*(?:</(?:think|thinking|thought)>|<channel\|>)", re.DOTALL | re.IGNORECASE),
    re.compile(r"(?:<(?:think|thinking|thought)>|<\|channel>\s*thought\b).*$", re.DOTALL | re.IGNORECASE),
)

_SPECIAL_TOKEN = re.compile(
    r"<\|[\w\"/-]{1,40}\|?>"  # <|im_end|>, <|turn>
    r"|<[\w\"/-]{1,40}\|>"  # <turn|>
    r"|<｜[^｜<>]{1,40}｜>"
    r"|</?s>|<(?:pad|unk|bos|eos|mask|image|video)>"
    r"|<(?:start_of_turn|end_of_turn|end_of_utterance|fake_token_around_image|global-img)>"
    r"|\[/?INST\]"
)

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w-]*[ \t]*$", re.MULTILINE)
_HEADING = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+)+(?=\S)", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*([-*_])(?:[ \t]*\1){2,}[ \t]*$", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*[-*•][ \t]+(?=\S)", re.MULTILINE)
# Emphasis hugs its words and stands between words, unlike 5*3*2 or 2 * 3 * 4.
_STARS = re.compile(r"(?<![A-Za-z0-9*])(\*{1,3})(?=[^\s*])([^*\n]*?)(?<=[^\s*])\1(?![A-Za-z0-9*])")
# Only around several words: _sks_ or __init__ may be a trigger word.
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

# Controls and lone surrogates, zero-width space, line and paragraph separators, byte order mark.
_INVISIBLE = re.compile("[\\s\x00-\x1f\x7f-\x9f\ud800-\udfff\u200b\u2028\u2029\ufeff]+")
_JOINERS = re.compile("[\u00ad\u200c\u200d\u2060]+")


def remove_thinking(text: str) -> str:
    """Without <think>...</think>, text before a lone </think>, and text after a <think> that never ends."""
    for pattern in _THINKING:
        text = pattern.sub(" ", text)
    return text


def remove_special_tokens(text: str) -> str:
    """Without tokens of chat templates, such as <|im_end|>, <end_of_turn> and </s>."""
    return _SPECIAL_TOKEN.sub(" ", text)


def remove_markdown(text: str) -> str:
    """Without the marks of fences, headings, rules, lists of several lines, bold and italics. The words stay."""
    text = _HEADING.sub("", _RULE.sub("", _FENCE.sub("", text).replace("```", " ")))
    if len(_BULLET.findall(text)) > 1:
        text = _BULLET.sub("", text)
    return _UNDERSCORES.sub(r"\2", _STARS.sub(r"\2", text))


def remove_chat(text: str) -> str:
    """Without "assistant:", "Sure! Here is a caption:", "Caption:" and the like at the start.

    Goes by a fixed list of nouns and adjectives before a colon or line end, so that "Here a man: ..." stays.
    """
    for pattern in (_ROLE, _INTRODUCTION, _LABEL, _BARE_PLEASANTRY):
        text = pattern.sub("", text)
    return text


def remove_quotes(text: str) -> str:
    """Without a pair of quotes around the whole text. `"Go" says the "Stop" sign's neighbour "Tom"` stays."""
    text = text.strip()
    if len(text) < 2 or _QUOTES.get(text[0]) != text[-1]:
        return text
    inner = text[1:-1]
    rest = _CONTRACTION.sub("", inner) if text[0] in "'‘" else inner
    return text if text[0] in rest or text[-1] in rest else inner.strip()


def one_line(text: str) -> str:
    """One line of text: line breaks, tabs, controls and zero-width spaces become single spaces; ends are stripped.

    Joiners stay between non-ASCII letters and emoji, which need them, and go elsewhere.
    """
    text = _INVISIBLE.sub(" ", _JOINERS.sub(_keep_joiner, _INVISIBLE.sub(" ", text)))
    return text.strip()


def _keep_joiner(match: re.Match[str]) -> str:
    before, after = match.string[: match.start()][-1:], match.string[match.end() :][:1]
    return match.group() if before > "\x7f" and after > "\x7f" else ""


def is_blank(text: str) -> bool:
    """Whether nothing in the text can be seen: empty, or only spaces, controls and zero-width characters."""
    return not any(character.isprintable() and not character.isspace() for character in text)


def clean(text: str) -> str:
    """The caption in a model's output as one line; "" if there is none. clean(clean(x)) == clean(x).

    Repeats its steps until nothing changes, since one leftover can hide another. No step makes the text longer.
    """
    before = None
    while text != before:
        before = text
        for step in (remove_thinking, remove_special_tokens, remove_markdown, remove_chat, remove_quotes):
            text = step(text)
        text = one_line(text)
    return "" if is_blank(text) else text


# Where no space belongs: after these at the end of a prefix, before these at the start of a suffix. A straight quote
# opens when nothing or a space stands before it, and closes when no word follows.
_WIDE = "\u3000-\u303f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40"
_OPENS = re.compile(rf"(?:[(\[{{‘“«‹¿¡{_WIDE}]|(?:^|\s)[\"'`])$")
_CLOSES = re.compile(rf"[,.;:!?%)\]}}’”»›…{_WIDE}]|[\"'`](?!\w)")


class Decoration(NamedTuple):
    """What every caption of a job gets beside the model's words; each is one line or empty."""

    trigger: str = ""
    prefix: str = ""
    suffix: str = ""


def decorate(text: str, decoration: Decoration) -> str:
    """Prefix, text and suffix as they were given, with the trigger word first: "trigger, prefix text suffix".

    Between two parts comes one space, unless there is one already, the prefix ends with an opening bracket or quote,
    or the suffix starts with closing punctuation: ", high quality" and "." follow the text directly, and so does all
    full-width punctuation. A trigger that the caption holds already as a whole word, in whatever case, is not added.
    """
    trigger, prefix, suffix = decoration.trigger.strip(), decoration.prefix, decoration.suffix
    text = _attach(prefix, text, tight=bool(_OPENS.search(prefix)))
    text = one_line(_attach(text, suffix, tight=bool(_CLOSES.match(suffix))))
    if not trigger or re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", text, re.IGNORECASE):
        return text
    return f"{trigger}, {text}"


def _attach(first: str, second: str, tight: bool) -> str:
    spaced = not first or not second or first[-1].isspace() or second[0].isspace()
    return first + second if spaced or tight else f"{first} {second}"
