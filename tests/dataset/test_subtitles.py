"""SRT, WebVTT and JSONL of windows, read back by parsers of their own, whatever the captions hold."""

import html
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captioner.dataset.subtitles import Cue, jsonl, srt, vtt

TIMES = re.compile(r"(\d{2,}):(\d\d):(\d\d)[,.](\d{3}) --> (\d{2,}):(\d\d):(\d\d)[,.](\d{3})")
HARD = [
    "A red circle.",
    "Two\n\nlines\r\n\r\nand a third",
    "It points --> to the right",
    "00:00:01,000 --> 00:00:02,000",
    "7\n\n00:00:01,000 --> 00:00:02,000\nNot a cue",
    "Ein Kreis, größer als 猫 und 🐈‍⬛; خط",
    "a & b < c > d &amp; <i>e</i>",
    "next\u2028line\u2029and\x85here\x0b\x0cthere",
    "zero\x00 bell\x07 mark\ufeff",
    "NOTE this\nSTYLE that",
]


def blocks(text: str) -> list[tuple[float, float, str]]:
    """Return the cues as a player finds them: between blank lines, the text below the line with the times."""
    found = []
    for block in re.split(r"\n{2,}", text.strip("\n")):
        lines = block.split("\n")
        number = next((number for number, line in enumerate(lines) if TIMES.fullmatch(line)), None)
        if number is not None:
            values = [int(value) for value in TIMES.fullmatch(lines[number]).groups()]
            start, end = (
                hours * 3600 + minutes * 60 + seconds + thousandths / 1000
                for hours, minutes, seconds, thousandths in (values[:4], values[4:])
            )
            found.append((start, end, "\n".join(lines[number + 1 :])))
    return found


def words(text: str) -> list[str]:
    return re.sub(r"[\x00-\x1f\x7f]", " ", text).split()


@pytest.mark.parametrize("text", HARD)
def test_every_text_stays_in_its_cue(text):
    cues = [Cue(0.0, 2.5, "First."), Cue(2.5, 3661.0004, text), Cue(3661.0004, 3662, "Last.")]
    for found, arrow in ((blocks(srt(cues)), "→"), (blocks(vtt(cues)), "--&gt;")):
        assert [cue[:2] for cue in found] == [(0.0, 2.5), (2.5, 3661.0), (3661.0, 3662.0)]
        assert (found[0][2], found[2][2]) == ("First.", "Last.")
        assert "-->" not in found[1][2]
        assert ("-->" in text) == (arrow in found[1][2])
    assert words(html.unescape(blocks(vtt(cues))[1][2])) == words(text)
    assert json.loads(jsonl(cues, "a b.mp4").splitlines()[1]) == {
        "file_name": "a b.mp4",
        "start_s": 2.5,
        "end_s": 3661.0,
        "text": text,
    }


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=6))
def test_any_texts_are_read_back(texts):
    cues = [Cue(number, number + 1, text) for number, text in enumerate(texts)]
    shown = [cue for cue in cues if words(cue.text)]
    found = blocks(vtt(cues))
    assert [cue[0] for cue in found] == [cue.start_s for cue in shown] == [cue[0] for cue in blocks(srt(cues))]
    assert [words(html.unescape(cue[2])) for cue in found] == [words(cue.text) for cue in shown]
    assert [json.loads(line)["text"] for line in jsonl(cues, "x").split("\n")[:-1]] == texts


def test_heads_numbers_and_names_that_are_not_unicode():
    cues = [Cue(0, 1, "one"), Cue(1, 2, " \n "), Cue(2, 3, "three")]
    assert srt(cues) == "1\n00:00:00,000 --> 00:00:01,000\none\n\n2\n00:00:02,000 --> 00:00:03,000\nthree\n"
    assert vtt(cues).startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\none\n\n00:00:02.000")
    assert json.loads(jsonl(cues, "\udcff.mp4").splitlines()[0])["file_name"] == "\udcff.mp4"
    assert (srt([]), vtt([]).strip(), jsonl([], "x")) == ("", "WEBVTT", "")
