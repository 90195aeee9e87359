"""The number of tokens: exact with a tokenizer that is here, else an estimate within known bounds."""

from itertools import pairwise
from pathlib import Path

import pytest

from captioner.config.settings import Settings
from captioner.dataset.targets import chosen_target, target
from captioner.dataset.token_limit import TokenLimit, estimate_tokens
from captioner.engine.tokenizers_here import count_tokens, find_tokenizer
from tests.captions.test_h3 import GOOD

DEMO = Path(__file__).resolve().parents[2] / "captioner" / "demo" / "model"
# (tokens of Qwen, of LLaMA 3, of Mistral's Tekken, of CLIP; largest error allowed for the first three), counted with
# qwen.tiktoken (dashscope 2.0.2), llama3/tokenizer.model (llama-models 0.3.0), tekken_240911.json (mistral-common
# 1.13.1) and bpe_simple_vocab_16e6.txt.gz (open_clip_torch 3.3.0).
TEXTS = {
    (
        "A young woman with long auburn hair walks slowly along a rain-soaked street at night, her yellow"
        " raincoat glistening under the neon signs. She pauses beside a parked bicycle, looks over her le"
        "ft shoulder and smiles briefly before stepping into a brightly lit bakery. The camera follows he"
        "r from behind at shoulder height and then holds still as the glass door swings shut. Cool blue l"
        "ight from the street contrasts with the warm glow of the shop window."
    ): (90, 90, 93, 90, 0.1),
    (
        "1girl, solo, long hair, blue eyes, school uniform, pleated skirt, cherry blossoms, outdoors, loo"
        "king at viewer, smile, upper body, depth of field, masterpiece, best quality, highres, absurdres"
        ", white background"
    ): (50, 50, 51, 49, 0.1),
    (
        "integrated_multimodal_description: [Shot 1] Live-action medium shot at eye level. A woman in a g"
        "ray coat stands on a train platform and looks at her watch. The young woman with a breathy voice"
        " (S1) says: <d>[English] I get off at the next station.</d> [Shot 2] At 00:03.500, the camera cu"
        "ts to a close-up of her hand as the camera pushes in with small amplitude at slow speed.\n\noveral"
        "l_soundscape: The rumble of an arriving train, distant announcements and footsteps on concrete.\n"
        "\nnon_diegetic_music: N/A"
    ): (132, 128, 138, 137, 0.1),
    (
        '{"high_level_description":"A red ceramic teapot on a wooden table beside a window.","style_descr'
        'iption":{"aesthetics":"calm, minimal","lighting":"soft window light","photo":"studio product pho'
        'to","medium":"photograph","color_palette":["#B3261E","#D9C7A3"]},"compositional_deconstruction":'
        '{"background":"A pale wall with a window at the left.","elements":[{"type":"obj","bbox":[310,420'
        ',780,905],"desc":"A glossy red teapot with a curved spout."},{"type":"text","bbox":[80,60,160,42'
        '0],"text":"TEA TIME","desc":"white serif letters on the wall"}]}}'
    ): (160, 144, 172, 210, 0.2),
    ("Orange star moving left on a striped background."): (9, 9, 10, 9, 0.12),
    (
        "一位穿着红色连衣裙的年轻女子在雨中的街道上缓慢行走，她停"
        "下来抬头望向霓虹灯，镜头从背后跟随，最后定格在她的侧脸上。"
    ): (39, 53, 62, 145, 0.35),
    ("赤い傘を持った女性が雨の夜の街をゆっくり歩いている。カメラは後ろから彼女を追い、最後に横顔で止まる。"): (
        37,
        39,
        40,
        101,
        0.35,
    ),
    ("빨간 우산을 든 여자가 비 오는 밤거리를 천천히 걷고 있다. 카메라는 뒤에서 그녀를 따라간다."): (
        40,
        35,
        24,
        84,
        0.35,
    ),
    (
        "Eine junge Frau mit langen roten Haaren geht langsam durch eine regennasse Straße. Die Straßenbe"
        "leuchtung spiegelt sich in den Pfützen, während ein Geschwindigkeitsbegrenzungsschild im Hinterg"
        "rund leuchtet."
    ): (57, 58, 47, 76, 0.35),
    (
        "Une jeune femme aux longs cheveux roux marche lentement dans une rue détrempée par la pluie, pui"
        "s s'arrête devant une boulangerie éclairée et sourit à quelqu'un hors champ."
    ): (52, 51, 39, 54, 0.35),
    (
        "Молодая женщина с длинными рыжими волосами медленно идёт по мокрой от дождя улице и останавливае"
        "тся у витрины пекарни."
    ): (48, 40, 40, 122, 0.35),
    (
        "The scoreboard reads 104 to 98 with 00:37.2 left; player 23 in a white jersey dribbles 3 times a"
        "nd shoots from 7.24 m at 19:45 on 2026-11-28."
    ): (64, 51, 66, 56, 0.2),
    (
        "ohwx_man, photo of ohwx_man wearing a black turtleneck, sks style, v3rt1c4l bokeh, f/1.8, ISO 40"
        "0, 35mm film grain"
    ): (48, 45, 52, 45, 0.2),
    (
        "Macro shot of a mechanical wristwatch movement: the balance wheel oscillates, the escapement tic"
        "ks, and a watchmaker's tweezers lower a jeweled bearing into the mainplate under fluorescent ill"
        "umination."
    ): (41, 41, 42, 41, 0.1),
}


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text[:20])
def test_estimate_is_near_the_tokenizers_of_today(text):
    *counts, _, most = TEXTS[text]
    estimate = estimate_tokens(text)
    assert max(abs(estimate / count - 1) for count in counts) <= most


def test_english_estimate_also_holds_for_clip():
    english = {text: counts for text, counts in TEXTS.items() if counts[-1] == 0.1}
    assert len(english) >= 4
    assert max(abs(estimate_tokens(text) / counts[3] - 1) for text, counts in english.items()) <= 0.12


def test_estimate_grows_with_the_text():
    text, steps = GOOD * 3, range(0, len(GOOD) * 3, 50)
    counts = [estimate_tokens(text[:end]) for end in steps]
    assert counts[0] == 0
    assert all(later >= before - 2 for before, later in pairwise(counts))


def test_tokenizer_of_this_machine_counts_exactly_and_others_are_not_looked_for_in_the_network(tmp_path):
    file = find_tokenizer(str(DEMO))
    assert file == DEMO / "tokenizer.json"
    limit = TokenLimit(target("wan2.2"), file)
    number, is_exact = limit.count("An orange star moves to the left on a striped background.")
    assert (is_exact, number) == (True, count_tokens(file, "An orange star moves to the left on a striped background."))
    assert find_tokenizer("owner/never-downloaded", tmp_path) is None
    assert find_tokenizer("", tmp_path) is None
    assert find_tokenizer("no repository at all: /x", tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("{")
    assert TokenLimit(target("wan2.2"), tmp_path / "tokenizer.json").count("a red ball") == (3, False)


def test_flaw_names_the_limit_and_whether_it_is_an_estimate():
    chosen = chosen_target(Settings(target="sdxl", token_limit=10))
    text = "red ball, blue sky, green grass, tall trees, a dog"
    assert TokenLimit(chosen).flaw(text) == "exceeds the 10 tokens of SDXL by estimate"
    assert TokenLimit(chosen, DEMO / "tokenizer.json").flaw(text) == "exceeds the 10 tokens of SDXL"
    assert TokenLimit(chosen).flaw("red ball") == ""
    assert TokenLimit(chosen_target(Settings(target="sdxl", token_limit=0))).flaw(text * 99) == ""
