"""Every form: cleanup, round trips, and edits that keep fields and lines."""

import json

import pytest

from captioner.captions.edit import BulkEdit
from captioner.captions.forms.known import FORMS, form, form_of
from captioner.captions.text import Decoration
from captioner.errors import CaptionerError, CaptionError
from tests.captions.test_h3 import DESCRIPTION, GOOD, MUSIC, SOUND

BOXES = {
    "high_level_description": "A red pot on a wall.",
    "style_description": {"aesthetics": "calm", "lighting": "soft", "photo": "studio", "medium": "photograph"},
    "compositional_deconstruction": {
        "background": "a wall",
        "elements": [
            {"type": "obj", "bbox": [10, 20, 300, 400], "desc": "a red pot", "color_palette": ["#FF0000"]},
            {"type": "text", "bbox": [0, 0, 50, 60], "text": "TEA", "desc": "red letters"},
        ],
    },
}
LINE = json.dumps(BOXES, separators=(",", ":"))
JSON = form("json")


def changed(**parts):
    """Return BOXES as text with other parts; a name with __ leads to an element or the style."""
    values = json.loads(LINE)
    for name, value in parts.items():
        where, _, key = name.partition("__")
        inner = {"element": values["compositional_deconstruction"]["elements"][0], "style": values["style_description"]}
        place = inner.get(where, values["compositional_deconstruction"] if where == "layout" else values)
        if value is None:
            del place[key or where]
        else:
            place[key or where] = value
    return json.dumps(values)


def test_right_json_has_no_problem_and_is_one_line():
    assert JSON.problems(LINE) == []
    assert JSON.clean(json.dumps(BOXES, indent=2)) == LINE
    assert JSON.render(JSON.parse(LINE)) == LINE
    assert form_of(LINE) is JSON


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("A red pot.", "json"),
        ("[1, 2]", "json"),
        (changed(high_level_description=None), "field-missing"),
        ('{"high_level_description":"x"}', "field-missing"),
        (changed(style__photo=None), "style"),
        (changed(style__art_style="oil"), "style"),
        (changed(style__medium=None), "style"),
        (changed(layout__background=None), "background"),
        (changed(layout__elements="pot"), "elements"),
        (changed(element__type="thing"), "element"),
        (changed(element__desc=""), "element"),
        (changed(element__type="text"), "element"),
        (changed(element__bbox=[10, 20, 30]), "box"),
        (changed(element__bbox=[10, 20, 5, 400]), "box"),
        (changed(element__bbox=[0.1, 0.2, 0.5, 0.6]), "box"),
        (changed(element__bbox=[0, 0, 1001, 10]), "box"),
        (changed(element__color_palette=["red"]), "color"),
        (changed(element__color_palette=["#FFFFFF"] * 6), "color"),
        (changed(mood="calm"), "field"),
    ],
)
def test_fault_of_json_is_found_and_no_other(text, code):
    assert {problem.code for problem in JSON.problems(JSON.clean(text))} == {code}


@pytest.mark.parametrize(
    "answer",
    [
        f"```json\n{json.dumps(BOXES, indent=2)}\n```",
        f"Here is the JSON caption:\n\n{LINE}\n\nLet me know!",
        LINE.replace("]}}", ",]}}"),
        LINE.replace("#FF0000", "#ff0000"),
        LINE.replace("[10,20,300,400]", "[10.0,20.2,299.9,400.0]"),
        json.dumps({name: BOXES[name] for name in reversed(BOXES)}),
        LINE.replace("A red pot on", "A red pot\\n on"),
        LINE.replace("TEA", "</s>TEA<pad>"),
        f"<think>a {{ b</think>{LINE}<|im_end|>\nuser",
    ],
)
def test_safe_faults_of_json_are_repaired(answer):
    assert JSON.clean(answer) == LINE


def test_tags_paragraph_and_free():
    tags, free, paragraph = form("tags"), form("free"), form("paragraph")
    assert tags.clean("Tags: red ball, Red Ball,\n- blue sky\n3. grass.") == "red ball, blue sky, grass"
    assert {each.code for each in tags.problems("a, the man walks slowly along a very long road in rain")} == {
        "sentence"
    }
    assert free.clean("Here is the caption:\n\nA cat.\n\n\n\n- one \n- two<|im_end|>") == "A cat.\n\n- one\n- two"
    assert {each.code for each in paragraph.problems("a\nb")} == {"line-break"}
    assert free.problems("a\n\nb") == []
    assert [problem.code for each in FORMS.values() for problem in each.problems(" ")][:3] == ["empty"] * 3
    with pytest.raises(CaptionerError, match="there are paragraph, tags, h3, json, free"):
        form("xml")


@pytest.mark.parametrize("name", FORMS)
def test_cleanup_of_every_form_is_stable(name):
    for text in (GOOD, LINE, "A cat.\n\nA dog.", "a, b,, c", "", "{", "<think>x</think>A cat"):
        once = form(name).clean(text)
        assert form(name).clean(once) == once


class TestEdits:
    def test_bulk_edit_changes_texts_and_no_labels(self):
        assert BulkEdit(find="overall", replace="x").apply(GOOD) == GOOD
        assert BulkEdit(find="music", replace="x").apply(GOOD) == GOOD
        assert BulkEdit(find="the", replace="a", match_case=True).apply(GOOD) == GOOD.replace(
            DESCRIPTION, DESCRIPTION.replace("the", "a")
        )
        assert BulkEdit(find="^A (train)", replace=r"One \1", regex=True).apply(GOOD) == GOOD.replace(
            "A train", "One train"
        )
        assert json.loads(BulkEdit(find="red", replace='"blue"').apply(LINE)) == json.loads(
            LINE.replace("red", '\\"blue\\"')
        )
        assert BulkEdit(find="obj", replace="x").apply(LINE) == LINE
        assert BulkEdit(find="desc", replace="x").apply(LINE) == LINE

    def test_prefix_and_suffix_belong_to_what_is_seen(self):
        edited = BulkEdit(prefix="sks,", suffix="The end.").apply(GOOD)
        assert edited == GOOD.replace("[Shot 1] ", "[Shot 1] sks, ").replace("static shot.", "static shot. The end.")
        assert json.loads(BulkEdit(prefix="sks,").apply(LINE))["high_level_description"] == "sks, A red pot on a wall."
        opened = GOOD.replace("Live-action", "The video shows a live-action")
        assert BulkEdit(trim_openers=True).apply(opened) == GOOD.replace("Live-action", "A live-action")

    def test_line_breaks_of_windows_stay(self):
        text = GOOD.replace("\n", "\r\n")
        assert BulkEdit(find="piano", replace="violin").apply(text) == text.replace("piano", "violin")

    def test_edit_that_would_break_the_fields_is_refused(self):
        with pytest.raises(CaptionError, match="would break the fields"):
            BulkEdit(find="Slow", replace="\nnon_diegetic_music: x\nintegrated_multimodal_description: y").apply(
                GOOD.split("\n\nnon_")[0].replace(SOUND, "Slow")
            )

    def test_a_caption_without_fields_is_edited_line_by_line_as_before(self):
        assert BulkEdit(prefix="sks,").apply("A cat.\nA dog.") == "sks, A cat.\nsks, A dog."

    def test_decoration_of_every_form(self):
        decoration = Decoration("ohwx", "In color:", "")
        assert form("h3").decorate(GOOD, decoration) == GOOD.replace("[Shot 1] ", "[Shot 1] ohwx, In color: ")
        assert JSON.decorate(LINE, decoration) == LINE.replace('"A red pot', '"ohwx, In color: A red pot')
        assert form("free").decorate("a\n\nb", decoration) == "ohwx, In color: a\n\nb"
        assert form("paragraph").decorate("a b", decoration) == "ohwx, In color: a b"
        held = GOOD.replace("platform", "ohwx")
        assert form("h3").decorate(held, Decoration("OHWX")) == held

    def test_merging(self):
        both = form("h3").parse(form("h3").merge(GOOD, GOOD.replace(SOUND, "N/A")))
        assert both["overall_soundscape"] == SOUND
        assert both["non_diegetic_music"] == f"{MUSIC} {MUSIC}"
        assert len(json.loads(JSON.merge(LINE, LINE))["compositional_deconstruction"]["elements"]) == 2
        assert json.loads(JSON.merge("Old.", LINE))["high_level_description"] == "Old. A red pot on a wall."
        assert form("paragraph").merge("a", "b") == "a b"
        assert form("tags").merge("solo, 1girl", "blue eyes") == "solo, 1girl, blue eyes"
        assert form("free").merge("a\nb", "c") == "a\nb\n\nc"


@pytest.mark.parametrize("name", FORMS)
def test_an_answer_of_one_repeated_mark_ends_in_a_caption_or_nothing(name):
    units = (
        "-",
        "*",
        "**a ",
        "[Shot ",
        "<d>",
        "{",
        '{"a":"',
        "overall_soundscape: ",
        "the camera slowly ",
        "_*#> ",
        "n/a ",
    )
    answers = [unit * 4000 for unit in units] + ['{"high_level_description":' + "[" * 4000 + "}"]
    for answer in answers:
        text = form(name).clean(answer)
        assert len(text) <= len(answer) + 4000
        form(name).problems(text)
        assert form(name).edit(text, lambda part: part) == text
