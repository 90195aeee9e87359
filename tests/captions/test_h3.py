"""Answers in the form of MiniMax-H3, right and wrong in one way each, through cleanup, parser and validator."""

import json

import pytest

from captioner.captions.forms.h3_camera import unknown_movements
from captioner.captions.forms.known import form, form_of
from captioner.values import MediaFacts

H3 = form("h3")
TALKING = MediaFacts(8.0, (3.4, 6.0), has_sound=True)
SILENT = MediaFacts(8.0, (3.4, 6.0), has_sound=False)
STILL = MediaFacts(0.0, None, has_sound=False, is_still=True)
DESCRIPTION = (
    "[Shot 1] Live-action medium shot of a platform. The young woman (S1) says: <d>[English] I get off here.</d> "
    "[Shot 2] At 00:03.500, the camera cuts to her hand and pushes in at slow speed. "
    "[Shot 3] At 00:06.000, the shot transitions to the empty track in a static shot."
)
SOUND, MUSIC = "A train rumbles, a bell rings twice.", "Slow piano at low volume."
GOOD = f"integrated_multimodal_description: {DESCRIPTION}\n\noverall_soundscape: {SOUND}\n\nnon_diegetic_music: {MUSIC}"
QUIET = GOOD.replace(" The young woman (S1) says: <d>[English] I get off here.</d>", "").replace(SOUND, "N/A")
QUIET = QUIET.replace(MUSIC, "N/A")
PHOTO = (
    "integrated_multimodal_description: [Shot 1] A photo of a red boat.\n\n"
    "overall_soundscape: N/A\n\nnon_diegetic_music: N/A"
)
RIGHT = {
    "with speech": (GOOD, TALKING),
    "without music": (GOOD.replace(MUSIC, "N/A"), TALKING),
    "of a silent clip": (QUIET, SILENT),
    "of a still": (PHOTO, STILL),
    "with single line breaks": (GOOD.replace("\n\n", "\n"), TALKING),
    "cut 0.25 s away": (GOOD.replace("00:03.500", "00:03.650"), TALKING),
    "Chinese speech": (GOOD.replace("[English] I get off here.", "[Chinese] 我在下一站下车。"), TALKING),
    "lyrics": (GOOD.replace("her hand", "a singer <|lyrics_start|>la la<|lyrics_end|>"), TALKING),
    "nothing known of the clip": (GOOD, MediaFacts()),
}
REPAIRED = {  # what a cleaned answer says instead is exactly GOOD
    "code fences": f"```text\n{GOOD}\n```",
    "an opening": f"Sure! Here is the caption:\n\n{GOOD}",
    "fields in another order": "\n\n".join(GOOD.split("\n\n")[::-1]),
    "bold labels": GOOD.replace("overall_soundscape:", "**overall_soundscape:**"),
    "labels in words": GOOD.replace("overall_soundscape:", "Overall Soundscape:"),
    "headings": GOOD.replace("non_diegetic_music: ", "### Non-Diegetic Music\n"),
    "numbered labels": GOOD.replace("integrated", "1. integrated").replace("overall", "2. overall"),
    "one line": GOOD.replace("\n\n", " "),
    "CRLF": GOOD.replace("\n", "\r\n"),
    "white space": GOOD.replace("\n\n", " \n \n\n\t"),
    "lower case shots": GOOD.replace("[Shot 2]", "[shot 2]"),
    "shots in round brackets": GOOD.replace("[Shot 2] At 00:03.500,", "(Shot 2) at 3.5s,"),
    "short times": GOOD.replace("At 00:03.500,", "At 0:03.5,"),
    "speech marks with spaces": GOOD.replace("<d>", "< D >").replace("</d>", "</ d>"),
    "JSON": json.dumps(
        {"overall_soundscape": SOUND, "non_diegetic_music": MUSIC, "integrated_multimodal_description": DESCRIPTION}
    ),
}
WRONG = {
    "no music field": (GOOD.split("\n\nnon_")[0], TALKING, "field-missing"),
    "no labels": (DESCRIPTION, TALKING, "field-missing"),
    "no description": (GOOD.split("\n\n", 1)[1], TALKING, "field-missing"),
    "empty sound": (GOOD.replace(SOUND, ""), TALKING, "field-empty"),
    "no shot": (
        GOOD.replace("[Shot 1] ", "").split(" [Shot 2]")[0] + GOOD[GOOD.index("\n\n") :],
        TALKING,
        "shot-missing",
    ),
    "shot without time": (GOOD.replace("At 00:03.500, the", "The"), TALKING, "shot-time"),
    "times that fall": (GOOD.replace("00:06.000", "00:03.400"), TALKING, "shot-order"),
    "time after the end": (GOOD.replace("00:06.000", "00:09.000"), TALKING, "shot-outside"),
    "time without a cut": (GOOD.replace("00:03.500", "00:03.700"), TALKING, "shot-cut"),
    "a number left out": (GOOD.replace("[Shot 3]", "[Shot 4]"), TALKING, "shot-number"),
    "a late first shot": (GOOD.replace("[Shot 1]", "[Shot 1] At 00:01.000,"), TALKING, "shot-time"),
    "speech not closed": (GOOD.replace("</d>", ""), TALKING, "speech-open"),
    "speech not opened": (GOOD.replace("<d>[English] ", ""), TALKING, "speech-open"),
    "speech without language": (GOOD.replace("[English] ", ""), TALKING, "speech-language"),
    "dolly": (GOOD.replace("pushes in", "dollies in"), TALKING, "camera"),
    "sound that is N/A": (GOOD.replace(SOUND, "N/A"), TALKING, "sound"),
    "speech in a silent clip": (
        QUIET.replace("of a platform.", "of a man. <d>[English] Hi.</d>"),
        SILENT,
        "speech-silent",
    ),
    "several shots of a still": (
        PHOTO.replace("boat.", "boat. [Shot 2] At 00:01.000, the shot cuts."),
        STILL,
        "shot-still",
    ),
}
IN_FILES = {  # what a cleanup would repair, and a file may hold all the same
    "sound of a silent clip": (
        QUIET.replace("overall_soundscape: N/A", f"overall_soundscape: {SOUND}"),
        SILENT,
        "sound",
    ),
    "music of a still": (PHOTO.replace("music: N/A", f"music: {MUSIC}"), STILL, "sound"),
    "fields in another order": (REPAIRED["fields in another order"], TALKING, "field-order"),
    "a field twice": (f"{GOOD}\n\noverall_soundscape: {SOUND}", TALKING, "field-twice"),
    "labels in words": (REPAIRED["labels in words"], TALKING, "label"),
    "one line": (REPAIRED["one line"], TALKING, "label"),
    "text before": (f"A caption.\n{GOOD}", TALKING, "text-before"),
    "short times": (REPAIRED["short times"], TALKING, "shot-time"),
    "round brackets": (REPAIRED["shots in round brackets"], TALKING, "shot-mark"),
}


def codes(text, facts):
    return {problem.code for problem in H3.problems(text, facts)}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answer_stays_as_it_is_and_has_no_problem(name):
    text, facts = RIGHT[name]
    assert codes(text, facts) == set()
    assert H3.clean(text, facts) == text.replace("\n\n", "\n").replace("\n", "\n\n")
    assert H3.render(H3.parse(text)) == H3.clean(text, facts)


@pytest.mark.parametrize("name", REPAIRED)
def test_safe_faults_are_repaired(name):
    assert H3.clean(REPAIRED[name], TALKING) == GOOD


@pytest.mark.parametrize("name", WRONG)
def test_fault_that_cannot_be_repaired_safely_is_found_and_no_other(name):
    text, facts, code = WRONG[name]
    assert codes(H3.clean(text, facts), facts) == {code}


@pytest.mark.parametrize("name", IN_FILES)
def test_fault_in_a_file_is_found_where_it_is(name):
    text, facts, code = IN_FILES[name]
    problems = H3.problems(text, facts)
    assert code in {problem.code for problem in problems} <= {code, "shot-time"}
    assert all(0 <= problem.span[0] <= problem.span[1] <= len(text) for problem in problems)


def test_sound_fields_of_what_makes_no_sound_become_na():
    assert H3.clean(PHOTO.replace("soundscape: N/A", "soundscape: waves"), STILL) == PHOTO
    assert H3.clean(PHOTO.split("\n\n")[0], STILL) == PHOTO
    assert H3.clean(QUIET.replace("N/A", "None."), SILENT) == QUIET


def test_cleanup_twice_is_cleanup_once():
    texts = [*REPAIRED.values(), *(text for text, *_ in (*WRONG.values(), *RIGHT.values(), *IN_FILES.values()))]
    for text in texts:
        once = H3.clean(text, TALKING)
        assert H3.clean(once, TALKING) == once


def test_only_texts_with_labels_are_taken_for_the_form():
    assert form_of(GOOD) is H3
    assert form_of(REPAIRED["one line"]) is H3
    for text in ("A dog.", "The overall soundscape: calm.", "Music plays.\nA man sings.", "", "{}", "{a|b}, c"):
        assert form_of(text) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The camera dollies in.", ["dollies"]),
        ("A handheld shot; the camera slowly orbits the car.", ["handheld", "orbits"]),
        ("The camera is gliding over the sea.", ["gliding"]),
        ("A crane shot, then a whip-pan.", ["crane shot", "whip-pan"]),
        ("The camera then pans left, tilts up, zooms out and pulls out with large amplitude.", []),
        ("The camera remains static. The camera lens gleams. A tracking shot follows the dog. POV.", []),
        ("The camera shakes slightly, arcs around her and cuts to the sea. The camera operators leave.", []),
        ("Cranes stand at the harbor; a drone flies by; a carousel orbits.", []),
    ],
)
def test_camera_words_outside_the_list_are_found(text, found):
    assert [text[start:end] for start, end in unknown_movements(text)] == found
