"""Scores equal those of one plain forward pass for each question, whatever runs beside them, and change no text."""

from types import SimpleNamespace

import pytest
import torch

from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.loading import load
from captioner.engine.prepare import Preparer
from captioner.engine.scoring import answer_ids
from captioner.engine.static import StaticCore
from captioner.errors import ModelError
from captioner.values import GenerationOptions, ModelSpec
from tests.support.engine_cases import finish, generate_alone, make_cases, prepare_cases, processor_inputs, run
from tests.support.tiny import YES_AND_NO, make_tiny_model

NUM_CASES, NUM_SCORED = 60, 40
QUESTION = 'Does this video show "{}"? Please answer yes or no.'
SUBJECTS = ("a man walks his dog", "tags", "a red ball, then a blue one; the camera pans left", "x " * 60)


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen3_5"])
def tiny(request, tmp_path_factory):
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"), request.param, YES_AND_NO)
    return load(folder, ModelSpec(str(folder), device="cpu", dtype="float32"))


@pytest.fixture(scope="module")
def cases():
    return make_cases(NUM_CASES, longest=16)


@pytest.fixture(scope="module")
def alone(tiny, cases):
    return [generate_alone(tiny.model, tiny.processor, case) for case in cases[NUM_SCORED:]]


@pytest.fixture(scope="module")
def plain(tiny, cases):
    return [forward_alone(tiny, case.frames, question(i)) for i, case in enumerate(cases[:NUM_SCORED])]


def question(number):
    return QUESTION.format(SUBJECTS[number % len(SUBJECTS)])


@torch.inference_mode()
def forward_alone(tiny, frames, prompt):
    """Return the shares of "yes" and of "no" in the first token of the answer, from one call of the model."""
    words = tiny.processor.tokenizer.get_vocab()
    logits = tiny.model(**processor_inputs(tiny.processor, frames, prompt)).logits[0, -1]
    shares = logits.double().softmax(0)
    forms = (("Yes", "yes", "ĠYes", "Ġyes"), ("No", "no", "ĠNo", "Ġno"))
    assert all(any(word in words for word in each) for each in forms)
    return [sum(float(shares[words[word]]) for word in each if word in words) for each in forms]


def requests(preparer, cases):
    """Questions to score and captions to write, in turn."""
    options = GenerationOptions(max_new_tokens=1, scores=True)
    scored = [preparer.prepare(i, case.frames, question(i), options) for i, case in enumerate(cases[:NUM_SCORED])]
    written = prepare_cases(preparer, cases)[NUM_SCORED:]
    return [each for i in range(NUM_SCORED) for each in (scored[i : i + 1] + written[i : i + 1])]


def check(ended, plain, alone):
    assert len(ended) == NUM_CASES
    for i in range(NUM_SCORED):
        assert (ended[i].finish_reason, ended[i].tokens, ended[i].num_tokens) == ("scored", (), 0)
        assert ended[i].probabilities == pytest.approx(plain[i], abs=1e-4, rel=1e-4)
    assert [ended[NUM_SCORED + i].tokens for i in range(len(alone))] == alone
    assert not any(ended[NUM_SCORED + i].probabilities for i in range(len(alone)))


@pytest.mark.parametrize(
    ("max_slots", "piece_tokens", "read_late"),
    [(1, 0, False), (3, 64, False), (8, 0, False), (8, 128, True), (16, 0, True)],
)
def test_scores_equal_plain_forward_passes_beside_captions(
    tiny, cases, plain, alone, max_slots, piece_tokens, read_late
):
    options = ContinuousOptions(max_slots=max_slots, piece_tokens=piece_tokens, read_late=read_late)
    core = ContinuousCore(tiny.model, options)
    try:
        ended = run(core, requests(Preparer(tiny.processor, core.layout), cases))
    finally:
        core.close()
    check(ended, plain, alone)
    assert len({round(ended[i].probabilities[0], 6) for i in range(NUM_SCORED)}) > NUM_SCORED // 2


@pytest.mark.parametrize("max_batch", [1, 4])
def test_scores_of_batches_through_generate_are_the_same(tiny, cases, plain, alone, max_batch):
    check(run(StaticCore(tiny.model, max_batch), requests(Preparer(tiny.processor), cases)), plain, alone)


def test_penalty_of_the_models_own_does_not_reach_scores_or_captions(tiny, cases, plain, alone, monkeypatch):
    """The question has both answers in it, so a penalty on its words would change every score."""
    monkeypatch.setattr(tiny.model.generation_config, "repetition_penalty", 1.5)
    monkeypatch.setattr(tiny.model.generation_config, "no_repeat_ngram_size", 2)
    check(run(StaticCore(tiny.model, 4), requests(Preparer(tiny.processor), cases)), plain, alone)


def test_cancelled_score_ends_without_one(tiny, cases, alone, plain):
    core = ContinuousCore(tiny.model, ContinuousOptions(max_slots=4, piece_tokens=64))
    asked = requests(Preparer(tiny.processor, core.layout), cases)
    long = max(asked, key=lambda each: each.num_prompt_tokens if each.options.scores else 0)
    for each in (long, *asked[-3:]):
        core.submit(each)
    core.step()
    core.cancel(long.id)
    ended = finish(core)
    core.close()
    assert (ended[long.id].finish_reason, ended[long.id].probabilities) == ("cancelled", ())
    assert len(ended) == 4


THINKING = "{%- if add_generation_prompt -%}<think>{{ '\\n' }}{%- endif -%}"


def test_template_that_opens_thinking_is_closed_before_the_answer(tiny, cases):
    """Else the probability would be that of a thought that begins with yes."""
    template = tiny.processor.chat_template
    try:
        tiny.processor.chat_template = template + THINKING
        preparer = Preparer(tiny.processor)
        prepared = preparer.prepare(0, cases[0].frames, "Is it?", GenerationOptions(max_new_tokens=1, scores=True))
    finally:
        tiny.processor.chat_template = template
    text = tiny.processor.tokenizer.decode(prepared.inputs["input_ids"][0])
    assert text.endswith("<think>\n\n</think>\n\n")


def test_tokenizer_without_the_word_is_refused_in_one_line(tiny_model):
    with pytest.raises(ModelError, match=r'^the model cannot score captions: "yes" is not one token of its tokenizer$'):
        answer_ids(tiny_model.processor.tokenizer)


def test_every_form_of_the_words_counts_whatever_the_tokenizer_writes_for_a_space():
    words = ["Yes", "▁Yes", "Ġyes", "YES", " yes", "yesterday", "eyes", "No", "▁no", "Now", "<no>"]
    tokenizer = SimpleNamespace(get_vocab=lambda: {word: number for number, word in enumerate(words)})
    assert answer_ids(tokenizer) == ((0, 1, 2, 3, 4), (7, 8))
