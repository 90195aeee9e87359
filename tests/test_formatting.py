"""Texts for people."""

from captioner.formatting import clock, duration, plural, printable, sendable, sentence, size


def test_sizes_are_decimal():
    assert [size(number) for number in (532, 1200, 1.5e6, 17.5e9)] == ["532 B", "1.2 KB", "1.5 MB", "17.5 GB"]


def test_times_are_those_of_a_player():
    assert [clock(seconds) for seconds in (0, 65, 3723)] == ["0:00", "1:05", "1:02:03"]


def test_durations_are_rough():
    seconds = (0.2, 45, 119, 150, 720, 5400, 7300, 11_100, 181_440)
    expected = ["1 s", "45 s", "2 min", "2 min", "12 min", "90 min", "2 h 2 min", "3 h 5 min", "2.1 days"]
    assert [duration(s) for s in seconds] == expected


def test_one_of_a_thing_has_no_s():
    assert [plural(count, "file") for count in (0, 1, 1200)] == ["0 files", "1 file", "1,200 files"]


def test_a_sentence_has_a_capital_and_one_stop():
    texts = ("no such folder: /x", "Done.", "really?", "")
    assert [sentence(text) for text in texts] == ["No such folder: /x.", "Done.", "Really?", "."]


def test_names_that_are_no_text_can_be_sent():
    assert sendable("clip\udcff.mp4") == "clip?.mp4"


def test_control_characters_are_shown_as_escapes():
    text = "a\x1b]0;evil\x07\x9b2J\r\n\t\x7f\x00\u202egpj.\u2066\u2028z"
    assert printable(text) == r"a\x1b]0;evil\x07\x9b2J\r\n\t\x7f\x00\u202egpj.\u2066\u2028z"
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_other_characters_stay():
    text = "größe 雪　👩‍👩‍👧 नि \xa0 é C:\\new \udcff"
    assert printable(text) == text
