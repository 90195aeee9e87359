import json
import threading
from pathlib import Path

import pytest

from captioner.errors import PromptError
from captioner.prompts import BUILTIN_PROMPTS, Prompt, PromptLibrary


@pytest.fixture
def library(tmp_path: Path) -> PromptLibrary:
    return PromptLibrary(tmp_path / "prompts.json")


def test_library_without_a_file_has_the_builtin_prompts(library: PromptLibrary) -> None:
    assert library.list() == BUILTIN_PROMPTS
    assert all(prompt.builtin for prompt in library.list())
    assert not library.path.exists()


def test_builtin_prompts_cover_the_issue() -> None:
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


def test_update_rename_and_delete_change_one_prompt(library: PromptLibrary) -> None:
    for name in ("a", "b", "c"):
        library.create(name, name)
    assert library.update("B", "new") == Prompt("b", "new")
    assert library.rename("b", "B two") == Prompt("B two", "new")
    assert library.rename("C", "C") == Prompt("C", "c")
    library.delete("a")
    assert library.list()[len(BUILTIN_PROMPTS) :] == (Prompt("B two", "new"), Prompt("C", "c"))


def test_duplicates_get_free_names(library: PromptLibrary) -> None:
    text = library.get("Wan").text
    assert library.duplicate("wan") == Prompt("Wan copy", text)
    assert library.duplicate("Wan") == Prompt("Wan copy 2", text)
    assert library.duplicate("Wan copy", "Other") == Prompt("Other", text)
    assert library.update("Wan copy", "mine") == Prompt("Wan copy", "mine")


@pytest.mark.parametrize(
    ("action", "arguments", "message"),
    [
        ("get", ("Detaild",), "there is no prompt 'Detaild'; did you mean Detailed?"),
        ("get", ("mime",), "there is no prompt 'mime'; did you mean Mine?"),
        (
            "get",
            ("zzzz",),
            "there is no prompt 'zzzz'; there are Detailed, Short, Wan, HunyuanVideo, LTX, "
            "Character LoRA, Style LoRA, Motion and camera, Tags, Mine",
        ),
        ("create", ("MINE", "x"), "there is already a prompt 'Mine'; choose another name"),
        ("create", ("wan", "x"), "there is already a prompt 'Wan'; choose another name"),
        ("create", (" ", "x"), "a prompt needs a name"),
        ("create", ("a\nb", "x"), "the name of a prompt is one line of at most 80 characters"),
        ("create", ("a" * 81, "x"), "the name of a prompt is one line of at most 80 characters"),
        ("create", ("New", " \n"), "a prompt needs a text"),
        ("create", ("New", "x" * 20_001), "the text of a prompt has at most 20000 characters"),
        (
            "update",
            ("Wan", "x"),
            "the built-in prompt 'Wan' cannot be changed; duplicate it and change the copy",
        ),
        ("update", ("Mine", ""), "a prompt needs a text"),
        ("update", ("Min", "x"), "there is no prompt 'Min'; did you mean Mine?"),
        (
            "rename",
            ("short", "x"),
            "the built-in prompt 'Short' cannot be changed; duplicate it and change the copy",
        ),
        ("rename", ("Mine", "tags"), "there is already a prompt 'Tags'; choose another name"),
        (
            "delete",
            ("LTX",),
            "the built-in prompt 'LTX' cannot be changed; duplicate it and change the copy",
        ),
        ("duplicate", ("Mine", "LTX"), "there is already a prompt 'LTX'; choose another name"),
    ],
)
def test_wrong_use_is_one_line_and_changes_nothing(
    library: PromptLibrary, action: str, arguments: tuple[str, ...], message: str
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
        (b"{}", "no JSON list"),
        (b'["x"]', "each entry needs a name and a text, not 'x'"),
        (b'[{"name": 1, "text": "x"}]', "each entry needs a name and a text, not \"{'name': 1, 'text': 'x'}\""),
        (b'[{"name": "", "text": "x"}]', "a prompt needs a name"),
        (b"\xff\xfe\xfd", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_damaged_file_is_named_and_left_alone(library: PromptLibrary, content: bytes, reason: str) -> None:
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
