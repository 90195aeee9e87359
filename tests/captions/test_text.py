"""Cleaning of model output, and decoration of captions."""

import random
import time

import pytest

from captioner.captions.text import (
    Decoration,
    clean,
    decorate,
    is_blank,
    one_line,
    remove_chat,
    remove_markdown,
    remove_quotes,
    remove_special_tokens,
    remove_thinking,
)

UNTOUCHED = [
    "A red ball rolls to the left on a blue floor.",
    "A woman's hand - well-lit, close-up - holds the dog's leash.",
    "sks_man walks past __init__ and _ohwx_ in my_trigger_word style",
    "photo of _sks_ man and _abc_ dog, v1_final_",
    "Scene 1: a man: tall, thin. Time: 12:30.",
    "2 * 3 * 4 is 24, 5*3*2 is 30 and 2**3 is 8",
    "rated 4* by critics, 5* by fans; f*ck on a wall; *NSYNC and *NSYNC",
    "Here a woman in red sits by the window.",
    "Here is a woman holding a sign that reads: open",
    "Here is a woman with a sign with a caption: 'Hello'",
    "Here comes the sun: a bright disc over hills",
    "Here's Johnny: a man looks through a broken door.",
    "This is a scene of two boys who run: one falls.",
    "Sure-footed goats climb a cliff.",
    "Sure, a man nods and walks off.",
    "Of course the dog runs; certainly fast.",
    "Caption contest winners stand on stage: three men.",
    "Assistant referees run along the line.",
    "Tags on a coat swing: red, blue.",
    "Descriptions of birds: a board in a park.",
    '"Go" says the sign beside the "Stop" sign, "Exit" above',
    "'Tis the season, and the boys' choir sings 'Noel'",
    "A 6'2\" man next to a 5'4\" woman",
    "#1 fan, #vlog, C# book and a # sign",
    "a < b > c, <3, x |> f, <EXIT>, [1], [REC], i <| j",
    "1. a cat, 2. a dog",
    "- 5 degrees on a thermometer",
    "https://example.org/a_b_c?x=1&y=*",
    "rock `n` roll, ~3 m, 50% off, $5, a/b, c\\d, 7–9 pm — “late”",
    "猫が「にゃー」と鳴く。白い猫。",
    "Кошка спит на окне: день.",
    "قطة تنام على النافذة",
    "می‌روم خانه",
    "क्‍ष नमस्ते",
    "👩‍👩‍👧 wave, 👍🏽 and ❤️ on a sign",
    "เด็กวิ่งในสวน",
    "I think the man thinks: <think is not a tag",
]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_ordinary_text_is_not_touched(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>Hm.\nA ball?</think>\n\nA red ball.", "A red ball."),
        ("<THINKING>x</THINKING>A <think>y</think>ball.", "A ball."),
        ("I should look.\n</think>\nA red ball.", "A red ball."),
        ("<think>a<think>b</think>c</think>A red ball.", "A red ball."),
        ("<think>I was cut off", ""),
        ("A red ball.<think>I was cut off", "A red ball."),
        ("<|channel>thought\nHm.<channel|>A red ball.", "A red ball."),
        ("<|channel>thought\nHm", ""),
    ],
)
def test_thinking_is_removed(text: str, expected: str) -> None:
    assert remove_thinking(text).strip().replace("  ", " ") == expected
    assert clean(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red ball.<|im_end|>", "A red ball."),
        ("<s>A red ball.</s><pad><pad>", "A red ball."),
        ("<|im_start|>assistant\nA red ball.<|im_end|>\n<|endoftext|>", "A red ball."),
        ("<start_of_turn>model\nA red ball.<end_of_turn>", "A red ball."),
        ("<|turn>model\nA red ball.<turn|>", "A red ball."),
        ("A red ball.<end_of_utterance>", "A red ball."),
        ("[INST] [/INST] A red ball.<｜end▁of▁sentence｜>", "A red ball."),
    ],
)
def test_special_tokens_are_removed(text: str, expected: str) -> None:
    assert "<" not in remove_special_tokens(text)
    assert clean(text) == expected


@pytest.mark.parametrize(
    "opener",
    [
        "assistant: ",
        "Assistant:\n",
        "Caption: ",
        "Caption:\n\n",
        "**Caption:** ",
        "### Caption\n",
        "## Video Description:\n",
        "Detailed description: ",
        "The caption: ",
        "Tags: ",
        "Sure! ",
        "Certainly! ",
        "Sure! Here is a caption: ",
        "Sure, here's a short caption for this video:\n",
        "Of course! Here is the requested description.\n\n",
        "Here's a detailed description of the video:\n\n",
        "Here’s a detailed, one-paragraph description of the clip: ",
        "Here is a possible training caption for the Wan video model: ",
        "Here are comma-separated tags for the image: ",
        "Below is a caption you asked for: ",
        "This is a brief summary of the scene:\n",
        "Okay, here is a caption: Caption: ",
        "assistant\nSure! Here is a caption:\n\n**Caption:** ",
    ],
)
def test_chat_openers_are_removed(opener: str) -> None:
    assert clean(f"{opener}A red ball rolls: fast.") == "A red ball rolls: fast."
    assert clean(f'{opener}"A red ball rolls: fast."') == "A red ball rolls: fast."


def test_chat_is_removed_only_at_the_start() -> None:
    assert remove_chat("A sign reads Caption: here is a caption: x") == "A sign reads Caption: here is a caption: x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A **red** ball and a *blue* cube.", "A red ball and a blue cube."),
        ("***A red ball.***", "A red ball."),
        ("**A *red* ball** rolls", "A red ball rolls"),
        ("_A red ball_ and __a blue cube__.", "A red ball and a blue cube."),
        ("这是**红色**的球", "这是红色的球"),
        ("# Scene\nA red ball.\n## Light\nDim.", "Scene A red ball. Light Dim."),
        ("```\nA red ball.\n```", "A red ball."),
        ("```markdown\nA red ball.\n```", "A red ball."),
        ("A red ball.```", "A red ball."),
        ("A red ball.\n\n---\n\nDim light.", "A red ball. Dim light."),
        ("- red ball\n- blue floor", "red ball blue floor"),
        ("* **Subject:** a ball\n* **Light:** dim", "Subject: a ball Light: dim"),
    ],
)
def test_markdown_marks_are_removed_and_words_stay(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_markdown_keeps_lines() -> None:
    assert remove_markdown("# A\n**b**\n") == "A\nb\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"A red ball."', "A red ball."),
        ("'A man's hat.'", "A man's hat."),
        ("“A red ball.”", "A red ball."),
        ("« Un ballon. »", "Un ballon."),
        ("「赤い球。」", "赤い球。"),
        ('"Go" and "Stop"', '"Go" and "Stop"'),
        ("'Go' and 'Stop'", "'Go' and 'Stop'"),
        ("“Go” and “Stop”", "“Go” and “Stop”"),
        ('"A red ball', '"A red ball'),
        ('"', '"'),
        ("", ""),
    ],
)
def test_one_pair_of_quotes_around_everything_is_removed(text: str, expected: str) -> None:
    assert remove_quotes(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\n\tb\n\n c ", "a b c"),
        ("a\u200bb\ufeff c\u2028d\x00e\x85f\u00a0g\u3000h", "a b c d e f g h"),
        ("a\u200db\u2060c\u00add", "abcd"),
        ("a \u200d b", "a b"),
        ("می\u200cروم", "می\u200cروم"),
        ("\ud800a\udfff", "a"),
        ("", ""),
    ],
)
def test_one_line_has_single_visible_spaces(text: str, expected: str) -> None:
    assert one_line(text) == expected


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff", "\x00\x00", "\u200d", '""', "```\n```", "<|im_end|>"])
def test_output_without_a_caption_is_empty(text: str) -> None:
    assert clean(text) == ""


@pytest.mark.parametrize(("text", "blank"), [("", True), (" \n\u200b\x00", True), ("a", False), ("\ufffd", False)])
def test_blank_text_has_nothing_visible(text: str, blank: bool) -> None:
    assert is_blank(text) is blank


PIECES = [
    *"*_#`\"'“”‘’:-.!\n\t |<>/",
    " ",
    "a",
    "é",
    "ball",
    "**",
    "```",
    "---",
    "# ",
    "- ",
    "\u200d",
    "\u200b",
    "\u00ad",
    "<think>",
    "</think>",
    "<|channel>thought",
    "<channel|>",
    "<|im_end|>",
    "<s>",
    "assistant",
    "Caption:",
    "Sure! ",
    "Here is a caption",
    "Here's the detailed description of the clip:",
]


def test_cleaning_twice_is_cleaning_once() -> None:
    chance = random.Random(7)
    for _ in range(5000):
        text = "".join(chance.choices(PIECES, k=chance.randrange(14)))
        once = clean(text)
        assert clean(once) == once, repr(text)
        assert len(once) <= len(text), repr(text)
        assert once == " ".join(once.split()), repr(text)


@pytest.mark.parametrize(
    "piece",
    ["*a", "_a ", "<think>", "<|channel>thought", "<|a", "</think>", "# ", "- a\n", "caption ", "\u200d", " \n"],
)
def test_long_hostile_text_is_cleaned_quickly(piece: str) -> None:
    start_s = time.process_time()
    clean(piece * 3000)
    assert time.process_time() - start_s < 1


@pytest.mark.parametrize(
    ("trigger", "prefix", "suffix", "caption"),
    [
        ("", "", "", "A cat sits."),
        ("sks", "", "", "sks, A cat sits."),
        ("", "photo of", "high quality", "photo of A cat sits. high quality"),
        ("", "photo of ", " high quality", "photo of A cat sits. high quality"),
        ("sks", "Photo:", "[end]", "sks, Photo: A cat sits. [end]"),
        ("", "", ", high quality", "A cat sits., high quality"),
        ("", "(", ")", "(A cat sits.)"),
        ("", '"', '"', '"A cat sits."'),
        ("", "the “", '"film"', 'the “A cat sits. "film"'),
        ("", "画像：", "。", "画像：A cat sits.。"),
        ("", "C:\\1 {x} \\g<0>", "$1 ${x}", "C:\\1 {x} \\g<0> A cat sits. $1 ${x}"),
        ("sks", "SKS man,", "", "SKS man, A cat sits."),
        (" CAT ", "", "", "A cat sits."),
        ("ca", "", "", "ca, A cat sits."),
        ("c.t", "", "", "c.t, A cat sits."),
    ],
)
def test_decoration_is_put_around_the_text_unchanged(trigger, prefix, suffix, caption) -> None:
    assert decorate("A cat sits.", Decoration(trigger, prefix, suffix)) == caption
