"""Thinking, the end of an answer, special tokens in prompts, and chat templates that cannot be used."""

import json
import shutil
from pathlib import Path

import pytest

from captioner.cli.bench import build
from captioner.engine import loading
from captioner.engine.chat import ALL_THINKING, AnswerReader, chat_prompt, check_prompt, end_tokens, special_tokens
from captioner.engine.special_tokens import find_special, stored_special_tokens
from captioner.errors import ModelError
from captioner.marks import cut_at_turn_end, opens_thinking, read_answer
from captioner.values import ModelSpec

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "models"
ASK = [{"type": "video"}, {"type": "text", "text": "describe"}]
PROMPT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}"
)
PROMPT += "{% else %}<|vision_start|><|{{ p.type }}_pad|><|vision_end|>{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
PROMPT += "{% if add_generation_prompt %}<|im_start|>assistant\n"
HYBRID = (
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n{% else %}<think>\n{% endif %}"
)


@pytest.fixture
def processor():
    return build.build_processor(build.build_tokenizer(["describe this video in detail <think> </think>"], 400))


def reader(processor, opening=""):
    processor.chat_template = PROMPT + opening + "{% endif %}"
    answers = AnswerReader(processor)
    return lambda text: answers.read(processor.tokenizer(text, add_special_tokens=False).input_ids).text


OPENINGS = [
    ("<think>\n", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<|channel>thought\n", "<channel|>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
]


@pytest.mark.parametrize(("opens", "closes"), OPENINGS)
def test_reasoning_that_the_template_or_the_answer_opens_is_no_caption(processor, opens, closes):
    for opened in (True, False):
        read = reader(processor, opens if opened else "")
        own = "" if opened else opens
        assert read(f"{own}A cat? A dog?{closes}\n\nA dog runs.").strip() == "A dog runs."
        with pytest.raises(ModelError) as error:
            read(f"{own}A cat? A dog runs, I th")
        assert str(error.value) == ALL_THINKING


def test_marks_that_are_special_tokens_are_seen(processor):
    processor.tokenizer.add_special_tokens(
        {"additional_special_tokens": [*build.SPECIAL_TOKENS, "<think>", "</think>"]}
    )
    read = reader(processor)
    assert read("<think>A cat?</think>A dog.").strip() == "A dog."
    with pytest.raises(ModelError):
        read("<think>A cat?")


def test_thinking_is_turned_off_where_the_template_knows_how(processor):
    processor.chat_template = PROMPT + HYBRID + "{% endif %}"
    assert not opens_thinking(chat_prompt(processor, ASK))
    assert AnswerReader(processor).read(processor.tokenizer("A dog.").input_ids).text == "A dog."
    for variable, off in (("thinking", "false"), ("thinking_budget", "0")):
        processor.chat_template = PROMPT + f"{{% if {variable} != {off} %}}<think>{{% endif %}}{{% endif %}}"
        assert not opens_thinking(chat_prompt(processor, ASK))


@pytest.mark.skipif(not CASES.is_dir(), reason="the shared cases are not here")
def test_shared_templates(processor):
    for name, opened in (("hybrid-thinking", False), ("think", True)):
        processor.chat_template = (CASES / f"{name}-chat_template.jinja").read_text()
        assert opens_thinking(chat_prompt(processor, ASK)) is opened


@pytest.mark.parametrize(
    "text",
    [
        "A dog.<|im_end|>\n<|im_start|>user\nThanks",
        "A dog.<|im_start|>user\nThanks<|im_end|>",
        "<|im_start|>assistant\nA dog.<|im_end|>more",
        "A dog.<end_of_turn>\n<start_of_turn>user",
        "A dog.<|eot_id|><|start_header_id|>user<|end_header_id|>",
        "A dog.</s>[INST] more",
        "A dog.<｜end▁of▁sentence｜><｜User｜>",
        "A dog.<turn|><|turn>user",
        "A dog.<|im_end|><think>Hm",
    ],
)
def test_nothing_after_the_end_of_a_turn_is_caption(text):
    answer = read_answer(text)
    assert (answer.text.strip(), answer.cut_off) == ("A dog.", False)
    if "<think>" not in text:
        assert cut_at_turn_end(text).strip() == "A dog."


def test_end_tokens_are_the_union_of_all_places(processor, tmp_path):
    tokenizer = processor.tokenizer
    im_end, endoftext, start = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>", "<|im_start|>"])
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [endoftext], "text_config": {"eos_token_id": 2}}))
    generation = loading.transformers.GenerationConfig(eos_token_id=None)
    assert end_tokens(processor, generation, tmp_path) == sorted([im_end, endoftext])  # 2 is plain text
    (tmp_path / "config.json").write_text("{}")
    assert end_tokens(processor, generation, tmp_path) == im_end
    tokenizer.eos_token = "<|endoftext|>"  # as in a base model's tokenizer; the template's own turn end is found
    generation.eos_token_id = [start]
    assert end_tokens(processor, generation, tmp_path) == sorted([im_end, endoftext, start])


@pytest.mark.parametrize("token", ["<|video_pad|>", "<|im_end|>", "<|vision_start|>"])
def test_special_token_in_a_prompt_is_refused(processor, tiny_model_folder, token):
    for special in (special_tokens(processor), stored_special_tokens(tiny_model_folder)):
        assert find_special(f"describe {token} this", special) == token
        assert find_special("describe <this> [now] <|nothing|>!", special) == ""
    with pytest.raises(ModelError, match=r"^the prompt contains .*, which is a special token of the model; remove it$"):
        check_prompt(f"describe {token} this", special_tokens(processor))


def test_special_tokens_are_found_in_every_file_of_a_tokenizer(tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": [
        {"content": "<a1>", "special": True}, {"content": "<b>", "special": False}]}))  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({
        "added_tokens_decoder": {"5": {"content": "<start_of_turn>", "special": True}}, "pad_token": "!",
        "eos_token": {"content": "</s>"}, "extra_special_tokens": {"image_token": "<image>"}}))  # fmt: skip
    (tmp_path / "special_tokens_map.json").write_text("[]")
    assert stored_special_tokens(tmp_path) == {"<a1>", "<start_of_turn>", "</s>", "<image>"}


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "model: the model has no chat template (chat_template.jinja); choose an instruction-tuned model"),
        ("{{ raise_exception('roles must alternate') }}",
         "model: the model's chat template refuses the prompt: roles must alternate"),
        ("{{ messages[0].content + 'x' }}", "model: the model's chat template refuses the prompt: can only "
         'concatenate list (not "str") to list'),
        ("{{ messages[0].content }}",
         "model: the model's chat template takes plain text only, no images; choose a vision-language model"),
        ("{% for p in messages[0].content %}{{ p.text }}{% endfor %}",
         "model: the model's chat template leaves images out of the prompt; choose a vision-language model"),
        ("{% if %}", "model: the model's chat template refuses the prompt: Expected an expression, got 'end of "
         "statement block'"),
    ],
)  # fmt: skip
def test_unusable_chat_template_is_refused_once(tiny_model_folder, tmp_path, template, message):
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    if template:
        (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError) as error:
        loading.load(folder, ModelSpec("x", device="cpu"))
    assert str(error.value) == message


def test_named_templates_need_a_default(processor):
    processor.chat_template = {"default": PROMPT + "{% endif %}", "tools": "x"}
    assert "<|video_pad|>" in chat_prompt(processor, ASK)
    processor.chat_template = {"rag": "x", "tools": "x"}
    with pytest.raises(ModelError, match=r"several chat templates \(rag, tools\)"):
        chat_prompt(processor, ASK)


def test_folder_without_processor_files_is_refused(tiny_model_folder, tmp_path):
    folder = shutil.copytree(tiny_model_folder, tmp_path / "model")
    for name in ("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"):
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(ModelError, match=r"(preprocessor_config|processor)"):
        loading.load(folder, ModelSpec("x", device="cpu"))
