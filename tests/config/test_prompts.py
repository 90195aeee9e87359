import json
import threading
from pathlib import Path

import pytest

from captioner.config import prompts
from captioner.config.prompts import BUILTIN_PROMPTS, Prompt, PromptLibrary, expand, split_variables, unknown_variables
from captioner.errors import PromptError


@pytest.fixture
def library(tmp_path: Path) -> PromptLibrary:
    return PromptLibrary(tmp_path / "prompts.json")


def test_library_without_a_file_has_the_builtin_prompts(library: PromptLibrary) -> None:
    assert library.list() == BUILTIN_PROMPTS
    assert all(prompt.builtin for prompt in library.list())
    assert not library.path.exists()


def test_builtin_prompts_cover_the_common_uses() -> None:
    assert [prompt.name for prompt in BUILTIN_PROMPTS] == [
        "Detailed",
        "Short",
        "Wan",
        "HunyuanVideo",
        "LTX",
        "Character LoRA",
        "Style LoRA",
        "Motion and camera",
        "Tags",
        "LTX-2",
        "MiniMax-H3",
        "MiniMax-H3 still",
        "Still image",
        "Ideogram 4",
    ]
    assert all(prompt.text and "\n" not in prompt.text for prompt in BUILTIN_PROMPTS)


def test_own_prompts_come_after_the_builtin_ones_and_survive(library: PromptLibrary) -> None:
    assert library.create(" Mine ", " Say\nwhat you see. ") == Prompt("Mine", "Say\nwhat you see.")
    library.create("Ünïcode", "日本語")
    again = PromptLibrary(library.path)
    assert again.list() == (*BUILTIN_PROMPTS, Prompt("Mine", "Say\nwhat you see."), Prompt("Ünïcode", "日本語"))
    assert json.loads(library.path.read_text(encoding="utf-8"))[1] == {"name": "Ünïcode", "text": "日本語"}


def test_names_are_found_whatever_their_case(library: PromptLibrary) -> None:
    library.create("Straße", "x")
    assert library.get("detailed").name == "Detailed"
    assert library.get(" STRASSE ").name == "Straße"


def test_replace_and_delete_change_one_prompt(library: PromptLibrary) -> None:
    for name in ("a", "b", "c"):
        library.create(name, name)
    assert library.replace("B", None, "new") == Prompt("b", "new")
    assert library.replace("b", "B two", None) == Prompt("B two", "new")
    assert library.replace("C", "C", None) == Prompt("C", "c")
    library.delete("a")
    assert library.list()[len(BUILTIN_PROMPTS) :] == (Prompt("B two", "new"), Prompt("C", "c"))


def test_duplicates_get_free_names(library: PromptLibrary) -> None:
    text = library.get("Wan").text
    assert library.duplicate("wan") == Prompt("Wan copy", text)
    assert library.duplicate("Wan") == Prompt("Wan copy 2", text)
    assert library.duplicate("Wan copy", "Other") == Prompt("Other", text)
    assert library.replace("Wan copy", None, "mine") == Prompt("Wan copy", "mine")


@pytest.mark.parametrize(
    ("action", "arguments", "message"),
    [
        ("get", ("Detaild",), "there is no prompt 'Detaild'; did you mean Detailed?"),
        ("get", ("mime",), "there is no prompt 'mime'; did you mean Mine?"),
        (
            "get",
            ("zzzz",),
            "there is no prompt 'zzzz'; there are Detailed, Short, Wan, HunyuanVideo, LTX, "
            "Character LoRA, Style LoRA, Motion and camera, Tags, LTX-2, MiniMax-H3, MiniMax-H3 still, "
            "Still image, Ideogram 4, Mine",
        ),
        ("create", ("MINE", "x"), "there is already a prompt 'Mine'; choose another name"),
        ("create", ("wan", "x"), "there is already a prompt 'Wan'; choose another name"),
        ("create", (" ", "x"), "a prompt needs a name"),
        ("create", ("a\nb", "x"), "a prompt's name must be one line of at most 80 characters"),
        ("create", ("a" * 81, "x"), "a prompt's name must be one line of at most 80 characters"),
        ("create", ("New", " \n"), "a prompt needs a text"),
        ("create", ("New", "x" * 20_001), "a prompt's text must have at most 20,000 characters"),
        (
            "replace",
            ("Wan", None, "x"),
            "the built-in prompt 'Wan' cannot be changed; duplicate it and change the copy",
        ),
        ("replace", ("Mine", None, ""), "a prompt needs a text"),
        ("replace", ("Min", None, "x"), "there is no prompt 'Min'; did you mean Mine?"),
        (
            "replace",
            ("short", "x", None),
            "the built-in prompt 'Short' cannot be changed; duplicate it and change the copy",
        ),
        ("replace", ("Mine", "tags", None), "there is already a prompt 'Tags'; choose another name"),
        (
            "delete",
            ("LTX",),
            "the built-in prompt 'LTX' cannot be changed; duplicate it and change the copy",
        ),
        ("duplicate", ("Mine", "LTX"), "there is already a prompt 'LTX'; choose another name"),
    ],
)
def test_wrong_use_is_one_line_and_changes_nothing(
    library: PromptLibrary, action: str, arguments: tuple[str | None, ...], message: str
) -> None:
    library.create("Mine", "text")
    before = library.path.read_bytes()
    with pytest.raises(PromptError) as caught:
        getattr(library, action)(*arguments)
    assert str(caught.value) == message
    assert library.path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'[{"name": "a"', "Expecting ',' delimiter: line 1 column 14 (char 13)"),
        (b"{}", "not a JSON list"),
        (b'["x"]', "each entry needs a name and a text, not 'x'"),
        (b'[{"name": 1, "text": "x"}]', "each entry needs a name and a text, not \"{'name': 1, 'text': 'x'}\""),
        (b'[{"name": "", "text": "x"}]', "a prompt needs a name"),
        (b"\xff\xfe\xfd", "it is not text in UTF-8 or UTF-16"),
    ],
)
def test_damaged_file_is_named_and_left_unchanged(library: PromptLibrary, content: bytes, reason: str) -> None:
    library.path.write_bytes(content)
    for action in (library.list, lambda: library.create("New", "x")):
        with pytest.raises(PromptError) as caught:
            action()
        assert str(caught.value) == f"the prompts file {library.path} is damaged ({reason}); correct or remove it"
    assert library.path.read_bytes() == content


def test_name_that_a_new_builtin_prompt_took_gets_a_number(library: PromptLibrary) -> None:
    library.path.write_text('[{"name": "wan", "text": "mine"}]')
    assert library.get("wan 2") == Prompt("wan 2", "mine")
    assert library.get("Wan").builtin


def test_file_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    library = PromptLibrary(tmp_path / "missing" / "prompts.json")
    with pytest.raises(PromptError) as caught:
        library.create("New", "x")
    assert str(caught.value) == f"cannot write the prompts file {library.path}: No such file or directory"


def test_several_threads_lose_no_prompt(library: PromptLibrary) -> None:
    def work(name: str) -> None:
        for number in range(10):
            library.create(f"{name} {number}", "x")

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(library.list()) == len(BUILTIN_PROMPTS) + 30


def never() -> str:
    raise AssertionError("the caption must not be read")


ITEM = {"name": "clip 1", "folder": "cats", "trigger": "sks"}


def test_variables_are_replaced_and_other_braces_are_not() -> None:
    text = "{name} in {folder} by {trigger}: {existing}! {other} {Name} {} {{name}} ${name} {0}"
    assert expand(text, **ITEM, existing=lambda: "Old.") == (
        "clip 1 in cats by sks: Old.! {other} {Name} {} {clip 1} $clip 1 {0}"
    )


def test_values_are_not_expanded_again() -> None:
    values = {"name": "{folder}", "folder": "{existing}", "trigger": "\\1 {name}"}
    assert expand("{name}{folder}{trigger}", **values, existing=never) == "{folder}{existing}\\1 {name}"


def test_caption_is_read_only_if_the_text_contains_existing() -> None:
    assert expand("{name}", **ITEM, existing=never) == "clip 1"


def test_file_name_that_is_not_utf8_can_be_in_a_prompt() -> None:
    assert expand("{name}", name="half \udce4", folder="", trigger="", existing=never) == "half ?"


def test_split_variables_returns_text_and_names_alternately() -> None:
    assert split_variables("A {name}. {x}") == ["A ", "name", ". {x}"]
    assert split_variables("{trigger}") == ["", "trigger", ""]


def test_exported_prompts_can_be_imported_into_another_library_twice(library: PromptLibrary, tmp_path: Path) -> None:
    library.create("Mine", "Say\nit.")
    library.create("Ünï", "<b>")
    other = PromptLibrary(tmp_path / "other.json")
    added, skipped = other.import_json(library.export_json())
    assert (added, skipped) == ([Prompt("Mine", "Say\nit."), Prompt("Ünï", "<b>")], [])
    added, skipped = other.import_json(library.export_json().encode())
    assert (added, skipped) == (
        [],
        [
            "entry 1: the library already has 'Mine' with this text",
            "entry 2: the library already has 'Ünï' with this text",
        ],
    )
    assert other.export_json() == library.export_json()


def test_imported_names_that_are_taken_get_a_number_once(library: PromptLibrary) -> None:
    library.create("Mine", "old")
    given = json.dumps([{"name": "mine", "text": "new"}, {"name": "Wan", "text": "x"}, {"name": "MINE", "text": "3"}])
    added, _ = library.import_json(given)
    assert [prompt.name for prompt in added] == ["mine 2", "Wan 2", "MINE 3"]
    assert library.get("Mine").text == "old"
    assert len(library.import_json(given)[1]) == 3


def test_bad_entries_are_reported_and_the_good_ones_added(library: PromptLibrary) -> None:
    library.create("Mine", "old")
    entries = [
        "x",
        {"name": "", "text": "a"},
        {"name": "b"},
        {"name": "Good", "text": "g"},
        {"name": "s", "text": "\ud800"},
    ]
    added, skipped = library.import_json(json.dumps(entries))
    assert added == [Prompt("Good", "g")]
    assert skipped == [
        "entry 1: each entry needs a name and a text, not 'x'",
        "entry 2: a prompt needs a name",
        "entry 3: each entry needs a name and a text, not \"{'name': 'b'}\"",
        "entry 5: a prompt's text contains an invalid character",
    ]
    assert [prompt.name for prompt in library.list() if not prompt.builtin] == ["Mine", "Good"]


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe\x00", b"[" * 100_000, b'{"name": "a", "text": "b"}', "null"])
def test_import_that_is_not_a_list_of_prompts_is_refused_in_one_line(library: PromptLibrary, data: str | bytes) -> None:
    library.create("Mine", "old")
    before = library.path.read_bytes()
    with pytest.raises(PromptError, match=r"^not a JSON file of prompts: [^\n]+$"):
        library.import_json(data)
    assert library.path.read_bytes() == before


def test_import_stops_at_the_limit_of_the_library(library: PromptLibrary, monkeypatch) -> None:
    monkeypatch.setattr(prompts, "MAX_OWN_PROMPTS", 2)
    added, skipped = library.import_json(json.dumps([{"name": str(i), "text": "x"} for i in range(3)]))
    assert (len(added), skipped) == (2, ["entry 3: the library is full: it has 2 prompts"])


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("A {name} in {folder}.", []),
        ('Answer as {"caption": "..."} or {1}, {}, { }, {a.b} and {{name}}.', []),
        ("{Name}", ["{Name} is not a variable; the model reads it as it is. Did you mean {name}?"]),
        ("{triger} {triger}", ["{triger} is not a variable; the model reads it as it is. Did you mean {trigger}?"]),
        ("ein {größe}", ["{größe} is not a variable; the model reads it as it is."]),
    ],
)  # fmt: skip
def test_words_in_braces_that_are_not_variables_are_named(text, lines):
    assert unknown_variables(text) == lines
