"""JSON from other people: too large, nested too deeply, damaged, or no file at all."""

import json
import os
import time

import pytest

from captioner.config.json_file import MAX_BYTES, MAX_DEPTH, parse_json, read_json
from captioner.config.prompts import PromptLibrary
from captioner.config.settings import SettingsStore
from captioner.errors import PromptError, SettingsError

HOSTILE = {
    "nested lists": b"[" * 100_000,
    "nested objects": b'{"a":' * 50_000,
    "nested and closed": b"[" * 5_000 + b"]" * 5_000,
    "nested in an entry": b'[{"name": "a", "text": ' + b"[" * 990 + b"]" * 990 + b"}]",
    "large": b'["' + b"a" * MAX_BYTES + b'"]',
    "large white space": b" " * MAX_BYTES + b"[]",
    "long number": b"[" + b"9" * 10_000 + b"]",
    "text without an end": b'["' + b'\\"' * 400_000,
    "many texts without an end": b'"\\' * 400_000,
    "binary": bytes(range(256)) * 100,
    "not a number": b'[{"name": "a", "text": NaN}]',
    "infinite": b'{"fps": -Infinity}',
    "too large for a float": b'{"fps": 1e999}',
    "names twice": b'{"model": "a", "model": "b"}',
    "many names and one twice": b"{" + b",".join(b'"%d":0' % i for i in range(90_000)) + b',"89999":0}',
    "half of UTF-16": "[]".encode("utf-16")[:-1],
    "nothing": b"",
    "only a mark": b"\xef\xbb\xbf",
    "bytes of Latin-1": '["ä"]'.encode("latin-1"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_json_is_one_line_in_a_moment(name, tmp_path):
    data = HOSTILE[name]
    started_s = time.monotonic()
    with pytest.raises(PromptError, match=r"^not a JSON file of prompts: [^\n]+$"):
        PromptLibrary(tmp_path / "prompts.json").import_json(data)
    (tmp_path / "settings.json").write_bytes(data)
    with pytest.raises(SettingsError, match=r"^the settings file [^\n]+ is damaged \([^\n]+\); correct or remove it$"):
        SettingsStore(tmp_path / "settings.json").read()
    if "large" in name:  # the library itself may have that size
        return
    (tmp_path / "prompts.json").write_bytes(data)
    with pytest.raises(PromptError, match=r"^the prompts file [^\n]+ is damaged \([^\n]+\); correct or remove it$"):
        PromptLibrary(tmp_path / "prompts.json").list()
    assert time.monotonic() - started_s < 5


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_prompts_saved_by_any_editor_are_imported(encoding, tmp_path):
    data = json.dumps([{"name": "Größe", "text": "Wie groß? 雪"}], ensure_ascii=False)
    for number, given in enumerate((data.encode(encoding), "\ufeff" + data)):
        added, skipped = PromptLibrary(tmp_path / f"{number}.json").import_json(given)
        assert ([prompt.text for prompt in added], skipped) == (["Wie groß? 雪"], [])


ENTRIES = [
    5, None, True, [], {}, "a", [["a", "b"]], {"name": 5, "text": "b"}, {"name": ["a"], "text": "b"},
    {"name": "a", "text": {"b": "c"}}, {"name": "a\x1b[2J", "text": "b"}, {"name": "a\nb", "text": "b"},
    {"name": "a", "text": "b", "builtin": True}, {"name": "\ud800", "text": "b"}, {"name": "a", "text": "\ud800"},
    {"name": "a" * 81, "text": "b"}, {"name": "a", "text": "b" * 20_001}, {"name": "a" * 900_000, "text": "b"},
]  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: repr(entry)[:40])
def test_entry_that_is_no_prompt_is_one_line_and_costs_no_other(entry, tmp_path):
    good = {"name": "good", "text": "text"}
    added, [problem] = PromptLibrary(tmp_path / "prompts.json").import_json(json.dumps([entry, good]))
    assert [prompt.name for prompt in added] == ["good"]
    assert problem.startswith("entry 1: ")
    assert len(problem) < 200
    assert problem.isprintable()


@pytest.mark.parametrize("name", ["x" * 500_000, "model\x1b[2J", "\ud800", ""])
def test_unknown_setting_in_a_file_is_one_short_line(name, tmp_path):
    (tmp_path / "settings.json").write_text(json.dumps({name: 1}))
    with pytest.raises(SettingsError, match=r"^unknown setting ") as caught:
        SettingsStore(tmp_path / "settings.json").read()
    assert len(str(caught.value)) < 1000 + len(str(tmp_path))


def test_brackets_in_texts_do_not_count():
    value = ["[" * 1000, '\\"[{' * 100, {"[[[": "]"}]
    assert parse_json(json.dumps(value)) == value


def test_depth_is_allowed_up_to_the_limit():
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    with pytest.raises(ValueError, match="nested more than 20 levels"):
        parse_json("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name on this system")
def test_pipe_in_place_of_a_file_blocks_nothing(tmp_path):
    os.mkfifo(tmp_path / "settings.json")
    with pytest.raises(ValueError, match="not a regular file"):
        read_json(tmp_path / "settings.json")


def test_thousand_imported_prompts_of_one_name_take_no_time(tmp_path):
    entries = [{"name": "a", "text": str(i)} for i in range(25_000)]
    data = json.dumps(entries, separators=(",", ":")).encode()
    assert len(data) <= MAX_BYTES
    started_s = time.monotonic()
    added, skipped = PromptLibrary(tmp_path / "prompts.json").import_json(data)
    assert (len(added), len(skipped)) == (1000, 24_000)
    assert time.monotonic() - started_s < 5
