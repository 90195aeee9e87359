"""The marks that chat models write around their reasoning and at the end of a turn, as text."""

import re
from typing import NamedTuple

ALL_THINKING = "the model used all its tokens for thinking; raise max_new_tokens or choose a model that does not think"

# (opens, closes) as regular expressions, and the text to write to close: Qwen, DeepSeek and GLM; Gemma 4 and MedGemma;
# Mistral; Seed-OSS; Kimi-VL; Command A; gpt-oss; Apertus; LongCat; OpenThinker.
_NAMES = "think|thinking|thought|thoughts|reasoning|seed:think|longcat_think|mm:think|ant_thinking"
_FINAL = "<|end|><|start|>assistant<|channel|>final<|message|>"
_MARKS = (
    *((f"<{name}>", f"</{name}>", f"\n</{name}>\n\n") for name in _NAMES.split("|")),
    (r"<\|channel>\s*thought\b", r"<channel\|>", "<channel|>"),
    (r"<unused94>\s*thought\b", r"<unused95>", "<unused95>"),
    (r"\[THINK\]", r"\[/THINK\]", "[/THINK]"),
    ("◁think▷", "◁/think▷", "◁/think▷"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>", "<|END_THINKING|>"),
    (r"<\|channel\|>\s*analysis\b(?:\s*<\|message\|>)?", r"<\|channel\|>\s*final\b(?:\s*<\|message\|>)?", _FINAL),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>", "<|inner_suffix|>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>", "<|end_of_thought|>"),
    (r"<\|think\|>", r"<\|/think\|>", "<|/think|>"),
)
_FLAGS = re.DOTALL | re.IGNORECASE
_BLOCKS = [re.compile(rf"{opens}((?:(?!{opens}).)*?){closes}", _FLAGS) for opens, closes, _ in _MARKS]
_CLOSES = "|".join(closes for _, closes, _ in _MARKS)
_LONE_END = re.compile(rf"^(.*)(?:{_CLOSES})", _FLAGS)
_OPENS = re.compile("|".join(opens for opens, _, _ in _MARKS), _FLAGS)
_FIRST_CHARACTER = re.compile(r"[<\[◁]")  # of every mark

# The marks that end a turn or begin the next one. Text after them answers nobody.
_TURN = (
    r"<\|(?:im_end|im_start|im_sep|im_user|im_system|im_assistant|endoftext|eot_id|eom_id|start_header_id|eot|eom|eos"
    r"|end_of_text|begin_of_text|end|end_of_turn|start_of_turn|end_of_role|start_of_role|turn_end|role_start|user_start"
    r"|user_end|assistant_start|assistant_end|user|assistant|system|observation|return|start|call"
    r"|START_OF_TURN_TOKEN|END_OF_TURN_TOKEN|END_RESPONSE)\|>"
    r"|<\|turn>|<turn\|>|<(?:start_of_turn|end_of_turn|end_of_utterance|eos|bos)>|</s>|\[/?INST\]|<seed:(?:eos|bos)>"
    r"|<｜(?:User|Assistant|(?:begin|end)▁of▁sentence)｜>"
)
_TURN_MARK = re.compile(_TURN)
_LEADING = re.compile(
    rf"(?:\s*(?:{_TURN})\s*(?:(?:assistant|model)\b)?(?:\s*<\|(?:end_header_id|message|im_middle)\|>)?)*"
)


class Answer(NamedTuple):
    """A model's text without its reasoning, whether it ends inside of reasoning, and the reasoning without marks."""

    text: str
    cut_off: bool
    thinking: str = ""


def split_thinking(text: str, opened: bool = False) -> Answer:
    """Split off the reasoning. opened: the prompt has opened it already, so a text without its end is all reasoning."""
    if not _FIRST_CHARACTER.search(text):  # as in most captions; looking for each mark takes ten times as long
        return Answer("", True, text.strip()) if opened else Answer(text, False)
    parts: list[str] = []
    for pattern in _BLOCKS:
        parts += [block[1] for block in pattern.finditer(text)]
        text = pattern.sub(" ", text)
    if lone_end := _LONE_END.match(text):
        parts.insert(0, lone_end[1])
        text = text[lone_end.end() :]
    begin = _OPENS.search(text)
    if begin:
        parts.append(text[begin.end() :])
        text = text[: begin.start()]
    elif opened and not lone_end:
        parts.insert(0, text)
        text = ""
    parts = [re.sub(_CLOSES, " ", part, flags=_FLAGS).strip() for part in parts]
    thinking = "\n\n".join(filter(None, parts))
    return Answer(text, bool(begin) or (opened and not lone_end), thinking)


def opens_thinking(prompt: str) -> bool:
    """Return True if the prompt ends inside of reasoning, which the answer will continue."""
    return bool(closing_mark(prompt))


def closing_mark(text: str) -> str:
    """Return what to write to close the reasoning that the text ends inside of, or "" if it does not."""
    for opens, closes, closing in _MARKS:
        begun = [*re.finditer(opens, text, _FLAGS)]
        if begun and not re.search(closes, text[begun[-1].end() :], _FLAGS):
            return closing
    return ""


def closes_thinking(text: str) -> bool:
    """Return True if the text holds a mark that closes reasoning."""
    return bool(re.search(_CLOSES, text, _FLAGS))


def after_opening(text: str) -> str:
    """Return what follows the mark that opens reasoning, or all of the text if there is none."""
    begin = _OPENS.search(text)
    return text[begin.end() :] if begin else text


def cut_at_turn_end(text: str) -> str:
    """Return the text of the first turn, without the marks and the role before it."""
    start, end = _first_turn(text)
    return text[start:end]


def read_answer(text: str, opened: bool = False) -> Answer:
    """Return the first turn of the text without reasoning. It is not cut off if only a later turn is."""
    answer = split_thinking(text, opened)
    start, end = _first_turn(answer.text)
    return Answer(answer.text[start:end], answer.cut_off and end == len(answer.text), answer.thinking)


def _first_turn(text: str) -> tuple[int, int]:
    leading = _LEADING.match(text)
    start = leading.end() if leading else 0
    end = _TURN_MARK.search(text, start)
    return start, end.start() if end else len(text)
