"""The marks that chat models write around their reasoning and at the end of a turn, as text."""

import re
from typing import NamedTuple

# (opens, closes) as regular expressions: Qwen, DeepSeek and GLM; Gemma 4 and MedGemma; Mistral; Seed-OSS; Kimi-VL;
# Command A; gpt-oss; Apertus; LongCat; OpenThinker.
_NAMES = "think|thinking|thought|thoughts|reasoning|seed:think|longcat_think|mm:think|ant_thinking"
_PAIRS = (
    *((f"<{name}>", f"</{name}>") for name in _NAMES.split("|")),
    (r"<\|channel>\s*thought\b", r"<channel\|>"),
    (r"<unused94>\s*thought\b", r"<unused95>"),
    (r"\[THINK\]", r"\[/THINK\]"),
    ("◁think▷", "◁/think▷"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|channel\|>\s*analysis\b(?:\s*<\|message\|>)?", r"<\|channel\|>\s*final\b(?:\s*<\|message\|>)?"),
    (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|think\|>", r"<\|/think\|>"),
)
_FLAGS = re.DOTALL | re.IGNORECASE
_BLOCKS = [re.compile(rf"{opens}(?:(?!{opens}).)*?{closes}", _FLAGS) for opens, closes in _PAIRS]
_LONE_END = re.compile(rf"^.*(?:{'|'.join(closes for _, closes in _PAIRS)})", _FLAGS)
_OPENS = re.compile("|".join(opens for opens, _ in _PAIRS), _FLAGS)

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
    """A model's text without its reasoning, and whether it ends inside of reasoning."""

    text: str
    cut_off: bool


def split_thinking(text: str, opened: bool = False) -> Answer:
    """Remove the reasoning. opened: the prompt has opened it already, so a text without its end is all reasoning."""
    for pattern in _BLOCKS:
        text = pattern.sub(" ", text)
    if lone_end := _LONE_END.match(text):
        text = text[lone_end.end() :]
    if begin := _OPENS.search(text):
        return Answer(text[: begin.start()], True)
    return Answer("", True) if opened and not lone_end else Answer(text, False)


def opens_thinking(prompt: str) -> bool:
    """Return True if the prompt ends inside of reasoning, which the answer will continue."""
    for opens, closes in _PAIRS:
        begun = [*re.finditer(opens, prompt, _FLAGS)]
        if begun and not re.search(closes, prompt[begun[-1].end() :], _FLAGS):
            return True
    return False


def cut_at_turn_end(text: str) -> str:
    """Return the text of the first turn, without the marks and the role before it."""
    start, end = _first_turn(text)
    return text[start:end]


def read_answer(text: str, opened: bool = False) -> Answer:
    """Return the first turn of the text without reasoning. It is not cut off if only a later turn is."""
    answer = split_thinking(text, opened)
    start, end = _first_turn(answer.text)
    return Answer(answer.text[start:end], answer.cut_off and end == len(answer.text))


def _first_turn(text: str) -> tuple[int, int]:
    leading = _LEADING.match(text)
    start = leading.end() if leading else 0
    end = _TURN_MARK.search(text, start)
    return start, end.start() if end else len(text)
