"""A model's chat template and special tokens: how it is asked, where its answer ends, and which part is the caption."""

import inspect
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

from transformers import GenerationConfig, PreTrainedTokenizerBase, ProcessorMixin

from captioner.engine.model_files import MAX_CONFIG_BYTES, read_json
from captioner.engine.special_tokens import find_special, is_mark
from captioner.engine.template import TemplateProcess
from captioner.errors import ModelError
from captioner.marks import ALL_THINKING, Answer, opens_thinking, read_answer

_TEXT, _ANSWER = "Describe this.", "A reply."
# What turns thinking on and off in templates that know the variable: Qwen, GLM, Gemma and others; DeepSeek, Kimi.
_SWITCHES = ("enable_thinking", "thinking")
_TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")

renderer = TemplateProcess()


def chat_prompt(processor: ProcessorMixin, parts: list[dict[str, str]], thinking_budget: int | None = None) -> str:
    """Return the chat template's text for one message of the user with these parts, up to the start of the answer.

    Without a budget, thinking is off if the template can turn it off. Raises ModelError.
    """
    return _render(processor, [{"role": "user", "content": parts}], True, thinking_budget or 0)


def generation_prompt(processor: ProcessorMixin, thinking_budget: int) -> str:
    """Return the text between a user's message and the start of the answer. Raises ModelError."""
    parts = [*({"type": kind} for kind in sorted(media_of(processor))[:1]), {"type": "text", "text": _TEXT}]
    return chat_prompt(processor, parts, thinking_budget).rpartition(_TEXT)[2]


def _render(processor: ProcessorMixin, chat: list[dict[str, Any]], add_generation_prompt: bool, budget: int = 0) -> str:
    template = _chat_template(processor)
    switches: dict[str, Any] = {**dict.fromkeys(_SWITCHES, bool(budget)), "thinking_budget": budget}  # Seed-OSS
    known = {name: value for name, value in switches.items() if re.search(rf"\b{name}\b", template)}
    values = {**processor.tokenizer.special_tokens_map, **known, "add_generation_prompt": add_generation_prompt}
    return renderer.render(template, chat, values)


def _chat_template(processor: ProcessorMixin) -> str:
    templates = processor.chat_template or getattr(processor.tokenizer, "chat_template", None)
    if isinstance(templates, dict) and len(templates) == 1:
        return next(iter(templates.values()))
    if isinstance(templates, dict) and templates:
        if "default" not in templates:
            raise ModelError(f"the model has several chat templates ({', '.join(templates)}) and none is the default")
        return templates["default"]
    if not templates:
        raise ModelError("the model has no chat template (chat_template.jinja); choose an instruction-tuned model")
    # SmolVLM2's own leaves videos out of the prompt; its processor has another for them.
    with_video = getattr(inspect.getmodule(type(processor)), "DEFAULT_CHAT_TEMPLATE", "")
    return with_video if "video" in with_video and "video" not in templates else cast(str, templates)


def media_of(processor: ProcessorMixin) -> frozenset[str]:
    """Return which of "image" and "video" the chat template puts into the prompt. Raises ModelError if it has none."""
    text = {"type": "text", "text": _TEXT}
    alone = chat_prompt(processor, [text])
    if alone.count(_TEXT) != 1 or "'type'" in alone:
        raise ModelError("the model's chat template takes plain text only, no images; choose a vision-language model")
    kinds = [kind for kind in ("image", "video") if getattr(processor, f"{kind}_processor", None)]
    return frozenset(kind for kind in kinds if chat_prompt(processor, [{"type": kind}, text]) != alone)


def check_chat(processor: ProcessorMixin, num_embeddings: int) -> None:
    """Raise ModelError if the model cannot be asked about images. num_embeddings: the size of its vocabulary."""
    if not media_of(processor):
        raise ModelError("the model's chat template leaves images out of the prompt; choose a vision-language model")
    tokens = processor.tokenizer(chat_prompt(processor, [{"type": "text", "text": _TEXT}])).input_ids
    if num_embeddings and max(tokens, default=0) >= num_embeddings:
        raise ModelError(
            f"the tokenizer has token {max(tokens)}, but the model has only {num_embeddings} tokens; "
            "its files belong to different models, so download the model again"
        )


def end_tokens(processor: ProcessorMixin, generation: GenerationConfig, folder: Path) -> int | list[int] | None:
    """Return all tokens that end an answer, as generation_config.json lists them; fine-tunes may list only some.

    Those of config.json count only if they are special tokens: text configurations may carry defaults of other models.
    """
    tokenizer = processor.tokenizer
    config = read_json(folder / "config.json", MAX_CONFIG_BYTES)
    parts = [config, *(config.get(name) for name in _TEXT_CONFIGS)]
    marks = {number for number, token in tokenizer.added_tokens_decoder.items() if is_mark(token.content)}
    ids = _as_list(generation.eos_token_id) + _as_list(tokenizer.eos_token_id)
    ids += [i for part in parts if isinstance(part, dict) for i in _as_list(part.get("eos_token_id")) if i in marks]
    ids += [i for i in _turn_end(processor) if i in marks]
    ends = sorted(set(ids))
    return ends if len(ends) > 1 else next(iter(ends), None)


def _as_list(value: Any) -> list[int]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, int)]


def _turn_end(processor: ProcessorMixin) -> list[int]:
    """Return the first token after an answer in the chat template, if it has one."""
    asked: dict[str, Any] = {"role": "user", "content": [{"type": "text", "text": _TEXT}]}
    contents: list[Any] = [[{"type": "text", "text": _ANSWER}], _ANSWER]
    for content in contents:
        try:
            chat = [asked, {"role": "assistant", "content": content}]
            _, found, rest = _render(processor, chat, add_generation_prompt=False).rpartition(_ANSWER)
        except ModelError:
            continue
        if found and "'type'" not in rest:
            return processor.tokenizer(rest.strip(), add_special_tokens=False).input_ids[:1]
    return []


def special_tokens(processor: ProcessorMixin) -> frozenset[str]:
    """Return the tokens that mean more than their text: the tokenizer's special ones and the marks of media."""
    tokenizer: PreTrainedTokenizerBase = processor.tokenizer
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    media = {getattr(processor, f"{name}_token", None) for name in ("image", "video", "audio", "boi", "eoi")}
    named = {token for token in (*tokenizer.all_special_tokens, *media) if isinstance(token, str)}
    return frozenset(token for token in added | named if is_mark(token))


def check_prompt(prompt: str, special: Collection[str]) -> None:
    """Raise ModelError if the prompt contains a special token."""
    if token := find_special(prompt, special):
        raise ModelError(f"the prompt contains {token}, which is a special token of the model; remove it")


class AnswerReader:
    """Turns the tokens of an answer into its text. The worker's main thread uses it."""

    def __init__(self, processor: ProcessorMixin) -> None:
        """Render the chat template to find out whether it opens the reasoning itself."""
        prompts = {thinks: generation_prompt(processor, int(thinks)) for thinks in (False, True)}
        self._opened = {thinks: opens_thinking(prompt) for thinks, prompt in prompts.items()}
        self._has_switch = prompts[False] != prompts[True]
        self._tokenizer = processor.tokenizer
        special = sorted(special_tokens(processor), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, special)) or r"(?!)")

    def report_thinking(self) -> str:
        """Return the text for the capability report."""
        if self._opened[False]:
            return "always; thinking_budget limits it"
        return "if thinking_budget is set" if self._has_switch else "the chat template has none"

    def read(self, tokens: Collection[int], thinks: bool = False) -> Answer:
        """Return the answer without its reasoning and without what follows its turn. Raises ModelError if none is left.

        thinks: the prompt had thinking turned on. The special tokens stay in the text until then, since the marks of
        reasoning may be among them.
        """
        answer = read_answer(self._tokenizer.decode(tokens, skip_special_tokens=False), self._opened[thinks])
        if answer.cut_off:
            raise ModelError(ALL_THINKING)
        text, thinking = (self._special.sub("", part) for part in (answer.text, answer.thinking))
        return Answer(text, False, thinking)
