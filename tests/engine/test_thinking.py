"""Thinking within a budget: the tokens are those of `generate`: to the budget, the closing mark, the caption."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessor, RepetitionPenaltyLogitsProcessor

from captioner.engine.answer import ThinkingTokens
from captioner.engine.chat import ALL_THINKING, AnswerReader, chat_prompt
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.loading import load
from captioner.engine.prepare import Prepared, Preparer
from captioner.engine.static import StaticCore
from captioner.engine.thinking import ThinkingMarks
from captioner.errors import ModelError
from captioner.values import GenerationOptions, ModelSpec
from tests.engine.test_chat import PROMPT
from tests.support.engine_cases import finish, make_cases, run
from tests.support.tiny import make_tiny_model

ALWAYS, BY_ITSELF = "<think>\n", "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
HYBRID = "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"
NUM_CASES = 9


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen3_5"])
def tiny(request, tmp_path_factory):
    """A model whose marks of thinking are tokens of their own, and which ends its thinking by itself now and then."""
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"), request.param)
    loaded = load(folder, ModelSpec(str(folder), device="cpu"))
    loaded.processor.tokenizer.add_tokens(["<think>", "</think>"])
    loaded.processor.chat_template = PROMPT + HYBRID + "{% endif %}"
    with torch.no_grad():
        loaded.model.get_input_embeddings().weight[closing(loaded)] *= 2.0
    return loaded


def closing(tiny) -> int:
    return tiny.processor.tokenizer.convert_tokens_to_ids("</think>")


def prepare(tiny, core, cases, budget, **options) -> list[Prepared]:
    preparer = Preparer(tiny.processor, core.layout)
    wanted = [GenerationOptions(max_new_tokens=case.num_tokens, thinking_budget=budget, **options) for case in cases]
    return [preparer.prepare(i, case.frames, case.prompt, wanted[i]) for i, case in enumerate(cases)]


class Thinks(LogitsProcessor):
    """Makes `generate` think for at most `budget` tokens; each part is penalized for its own words alone."""

    def __init__(self, tiny, length: int, budget: int, penalty: float) -> None:
        self.length, self.budget, self.penalty = length, budget, RepetitionPenaltyLogitsProcessor(penalty)
        self.closing, self.eos = closing(tiny), tiny.model.generation_config.eos_token_id
        self.forced = tiny.processor.tokenizer("\n</think>\n\n", add_special_tokens=False).input_ids
        self.start = None  # index of the first token of the caption

    def __call__(self, input_ids, scores):
        written = input_ids[0, self.length :].tolist()
        if self.start is None and self.closing in written:
            self.start = len(written)
        own = written[self.start or 0 :]
        scores = self.penalty(torch.tensor([own]), scores) if own else scores
        if self.start is None and (len(written) >= self.budget or int(scores.argmax()) == self.eos):
            self.start = len(written) + len(self.forced)
        if self.start is not None and len(written) < self.start:
            token = self.forced[len(written) - self.start]
            return torch.full_like(scores, -torch.inf).index_fill_(1, torch.tensor([token]), 0.0)
        return scores


@torch.inference_mode()
def think_alone(tiny, prepared: Prepared, penalty=1.0) -> tuple[tuple[int, ...], bool]:
    """Return thinking, mark and caption from one call of generate, and whether the model closed its thinking itself."""
    length, options = prepared.num_prompt_tokens, prepared.options
    thinks = Thinks(tiny, length, options.thinking_budget, penalty)
    most = options.thinking_budget + len(thinks.forced) + options.max_new_tokens
    config = GenerationConfig(max_new_tokens=most, do_sample=False, eos_token_id=thinks.eos, pad_token_id=0)
    ids = tiny.model.generate(**prepared.inputs, generation_config=config, logits_processor=[thinks])[0, length:]
    tokens = ids.tolist()[: thinks.start + options.max_new_tokens]
    is_own = tokens[thinks.start - len(thinks.forced) : thinks.start] != thinks.forced
    return tuple(token for token in tokens if token != thinks.eos), is_own


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_answers_equal_generate_in_both_cores(tiny, penalty):
    cases, plain = make_cases(NUM_CASES, longest=9), StaticCore(tiny.model, 1)
    requests = prepare(tiny, plain, cases, 9, repetition_penalty=penalty)
    alone, is_own = zip(*(think_alone(tiny, request, penalty) for request in requests), strict=True)
    assert 0 < sum(is_own) < NUM_CASES
    ended = run(StaticCore(tiny.model, 5), requests)
    assert [ended[i].tokens for i in range(NUM_CASES)] == list(alone)
    core = ContinuousCore(tiny.model, ContinuousOptions(max_slots=4, read_late=True))
    ended = run(core, prepare(tiny, core, cases, 9, repetition_penalty=penalty))
    core.close()
    assert [ended[i].tokens for i in range(NUM_CASES)] == list(alone)


@pytest.mark.parametrize("budget", [0, 1, 7])
def test_caption_has_all_its_tokens_whatever_the_budget(tiny, budget):
    cases = make_cases(6, longest=12)
    core = ContinuousCore(tiny.model, ContinuousOptions(max_slots=4))
    requests = prepare(tiny, core, cases, budget)
    ended = run(core, requests)
    core.close()
    reader = AnswerReader(tiny.processor)
    for i, request in enumerate(prepare(tiny, StaticCore(tiny.model, 1), cases, budget)):
        if budget:
            assert ended[i].tokens == think_alone(tiny, request)[0]
        answer = reader.read(ended[i].tokens, thinks=bool(budget))
        assert "think>" not in answer.text + answer.thinking


def test_requests_with_and_without_budget_share_steps_with_seeds_and_cancels(tiny):
    cases = make_cases(NUM_CASES, longest=9)

    def mixed(core) -> list[Prepared]:
        parts = [prepare(tiny, core, cases, b, temperature=0.9, top_k=30, seed=5) for b in (None, 6, 0)]
        return [parts[i % 3][i] for i in range(NUM_CASES)]

    core = ContinuousCore(tiny.model, ContinuousOptions(max_slots=8, read_late=True))
    full = run(core, mixed(core))
    core.close()
    core = ContinuousCore(tiny.model, ContinuousOptions(max_slots=8))
    assert run(core, mixed(core)) == full
    for request in mixed(core):
        core.submit(request)
    core.step()
    core.step()
    for i in (1, 3, 4):
        core.cancel(i)
    ended = finish(core)
    core.close()
    for i in range(NUM_CASES):
        assert ended[i].tokens == full[i].tokens[: len(ended[i].tokens)]
        assert (ended[i].finish_reason == "cancelled") == (i in (1, 3, 4))
    core = ContinuousCore(tiny.model, ContinuousOptions(max_slots=3))
    assert {i: e.tokens for i, e in run(core, mixed(core)).items()} == {i: e.tokens for i, e in full.items()}
    core.close()
    static = StaticCore(tiny.model, 4)
    assert {i: e.tokens for i, e in run(static, mixed(static)).items()} == {i: e.tokens for i, e in full.items()}


class TestTokens:
    """The tokens of an answer, one by one, without a model."""

    @pytest.fixture
    def write(self, tiny):
        """A function that writes an answer of which the model would write the text, and returns what is written."""
        processor = copy.deepcopy(tiny.processor)

        def write(template: str, text: str, budget: int, max_new_tokens: int = 100) -> str:
            processor.chat_template = PROMPT + template + "{% endif %}"
            tokenizer, marks = processor.tokenizer, ThinkingMarks(processor)
            options = GenerationOptions(max_new_tokens=max_new_tokens, thinking_budget=budget)
            request = Prepared(1, {}, options, marks=marks)
            answer, eos = ThinkingTokens(request, (tokenizer.eos_token_id,), marks), tokenizer.eos_token
            source = iter([*tokenizer(text, add_special_tokens=False).input_ids, *[tokenizer.eos_token_id] * 9])
            pending = next(source)
            while True:
                token = answer.choose(pending)
                if answer.add(token):
                    break
                pending = next(source) if token == pending else pending
            return tokenizer.decode(answer.tokens).replace(eos, "")

        return write

    @pytest.mark.parametrize("template", [ALWAYS, HYBRID])
    def test_prompt_that_opens_thinking(self, write, template):
        assert write(template, "abc</think>A dog.", 30) == "abc</think>A dog."
        assert write(template, "abcdef", 3) == "abc\n</think>\n\ndef"
        assert write(template, "abc", 30) == "abc\n</think>\n\n"  # its turn would end while it thinks

    def test_answer_that_opens_thinking(self, write):
        assert write(BY_ITSELF, "<think>\nabc</think>A dog.", 30) == "<think>\nabc</think>A dog."
        assert write(BY_ITSELF, "<think>abcdef", 3) == "<think>abc\n</think>\n\ndef"
        assert write(BY_ITSELF, "abcdef", 3) == "abcdef"
        assert write(BY_ITSELF, "<b>abcdef", 3) == "<b>abcdef"

    def test_marks_of_several_tokens(self, write):
        assert write("[THINK]", "abcdefgh[/THINK]A dog.", 40) == "abcdefgh[/THINK]A dog."
        assert write("<|channel>thought\n", "abcdef", 3) == "abc<channel|>def"
        assert write("", "<thinking>abcdef", 3) == "<thinking>abc\n</thinking>\n\ndef"

    def test_the_template_says_how_thinking_is_closed(self, write):
        glm = "{% if enable_thinking is false %}<think></think>\n{% else %}<think>{% endif %}"
        assert write(glm, "abcdef", 3) == "abc</think>\ndef"

    def test_caption_is_counted_from_the_end_of_the_thinking(self, write):
        assert write(ALWAYS, "1234567890", 3, max_new_tokens=4) == "123\n</think>\n\n4567"
        assert write(ALWAYS, "12</think>34567890", 9, max_new_tokens=4) == "12</think>3456"


def test_thinking_is_turned_on_only_with_a_budget(tiny):
    processor, ask = copy.deepcopy(tiny.processor), [{"type": "video"}, {"type": "text", "text": "describe"}]
    assert chat_prompt(processor, ask).endswith("<think>\n\n</think>\n\n")
    assert chat_prompt(processor, ask, 0).endswith("<think>\n\n</think>\n\n")
    assert chat_prompt(processor, ask, 5).endswith("assistant\n<think>\n")
    processor.chat_template = PROMPT + "{{ thinking_budget }}{% endif %}"  # Seed-OSS
    assert [chat_prompt(processor, ask, budget)[-2:] for budget in (None, 0, 64)] == ["\n0", "\n0", "64"]


def test_report_says_whether_the_model_thinks(tiny):
    processor, found = copy.deepcopy(tiny.processor), []
    for template in (ALWAYS, HYBRID, BY_ITSELF, ""):
        processor.chat_template = PROMPT + template + "{% endif %}"
        found.append(AnswerReader(processor).report_thinking())
    only_if = "if thinking_budget is set"
    assert found == ["always; thinking_budget limits it", only_if, only_if, "the chat template has none"]


def test_thinking_and_caption_are_told_apart_by_how_the_prompt_was_rendered(tiny):
    reader, tokenizer = AnswerReader(tiny.processor), tiny.processor.tokenizer
    tokens = tokenizer("A cat? A dog?\n</think>\n\nA dog runs.", add_special_tokens=False).input_ids
    answer = reader.read(tokens, thinks=True)
    assert (answer.text.strip(), answer.thinking) == ("A dog runs.", "A cat? A dog?")
    with pytest.raises(ModelError, match="used all its tokens for thinking") as error:
        reader.read(tokenizer("A cat?").input_ids, thinks=True)
    assert str(error.value) == ALL_THINKING
    assert reader.read(tokenizer("A cat.").input_ids).text == "A cat."
    goes_on = tokenizer(
        "A cat?\n</think>\n\nStill, a dog?</think>A dog."
    ).input_ids  # vllm#39697: it closes it once more
    assert reader.read(goes_on, thinks=True).text == "A dog."
    marked = tokenizer("<think>A cat?</think>A dog.<think>Or not?</think>").input_ids
    assert reader.read(marked)[::2] == ("  A dog. "[1:], "A cat?\n\nOr not?")


def test_memory_is_planned_for_thinking_and_caption():
    options = GenerationOptions(max_new_tokens=100)
    assert options.max_tokens == 100
    assert replace(options, thinking_budget=50).max_tokens == 214
    assert replace(options, thinking_budget=0).max_tokens == 164
